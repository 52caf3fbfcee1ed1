//! `config`: checks and shows the configuration.

use crate::cli::Config;
use crate::failure::{Doing, Failure};
use cluster_component::config::Environment;
use cluster_node::folder::Folder;
use cluster_node::inspect::{self, Grade};

pub(crate) fn run(folder: &Folder, command: &Config) -> Result<(), Failure> {
    let doing = "reading the configuration";
    let environment = Environment::of_process().doing(doing)?;
    match command {
        Config::Check => check(folder, &environment).map_err(|e| Failure::new(doing, e)),
        Config::Reference => {
            print!("{}", inspect::page());
            Ok(())
        }
        Config::Openapi => {
            print!("{}", cluster_node::openapi());
            Ok(())
        }
        Config::Show { secrets } => {
            let rows = inspect::values(folder, &environment, *secrets).map_err(|e| Failure::new(doing, e))?;
            for row in rows {
                println!("{} = {}  # {}", row.key, row.value, row.from);
            }
            Ok(())
        }
    }
}

fn check(folder: &Folder, environment: &Environment) -> Result<(), String> {
    let findings = inspect::findings(folder, environment)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| finding.grade == Grade::Mistake).count() {
        0 => {
            println!("{} is fine", folder.service_json().display());
            Ok(())
        }
        1 => Err("there is a mistake in it, see above".into()),
        count => Err(format!("there are {count} mistakes in it, see above")),
    }
}
