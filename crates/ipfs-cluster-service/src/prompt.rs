//! Questions to the user.

use std::io::{self, BufRead, Write};

/// Most times that a question is repeated.
const TRIES: usize = 3;

/// Asks for a yes. Anything but `y` or `Y` is none; so is an end of the input.
pub(crate) fn confirm(question: &str) -> bool {
    let mut input = io::stdin().lock();
    for _ in 0..TRIES {
        match ask(question, &mut input).as_deref().map(str::trim) {
            Some("y" | "Y") => return true,
            None | Some("" | "n" | "N") => return false,
            Some(_) => println!("Please press either 'y' or 'n'"),
        }
    }
    false
}

/// Asks for a line. `None` at the end of the input.
pub(crate) fn line(question: &str) -> Option<String> {
    ask(question, &mut io::stdin().lock()).map(|text| text.trim().to_owned())
}

fn ask(question: &str, input: &mut impl BufRead) -> Option<String> {
    print!("{question}");
    let _best_effort = io::stdout().flush(); // The answer is read all the same.
    let mut text = String::new();
    match input.read_line(&mut text) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(text),
    }
}
