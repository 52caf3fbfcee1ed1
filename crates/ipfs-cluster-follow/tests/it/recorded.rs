//! What the reference was recorded to do, case by case and in order: equal here, or different for a reason that stands
//! below. A case that is named there and is equal fails too, so that the list stays true.

use crate::program::{Running, World, nobody, serve};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const RECORDED: &str = include_str!("../data/follow.json");

/// What is different on purpose. Names that end with `*` stand for all that begin like that.
const DIFFERENT: &[(&str, &str)] = &[
    ("help/--version", "equal"),
    ("help/-v", "equal"),
    ("help/*", "the help is our own text"),
    ("nothing yet/no arguments", "the advice is our own text"),
    ("nothing yet/by environment", "the advice is our own text"),
    ("nothing yet/default folder", "the advice is our own text"),
    ("offline/tc list", "no empty datastore is left behind"),
    ("offline/dl list", "no empty datastore is left behind"),
    ("offline/bad list", "no empty datastore is left behind"),
    ("offline/sos list", "no empty datastore is left behind"),
    ("offline/ms list", "no empty datastore is left behind"),
    ("offline/sd list", "no empty datastore is left behind"),
    ("offline/bad info", "JSON errors are in our parser's words"),
    ("offline/bad run", "JSON errors are in our parser's words"),
    ("offline/sd run", "the reason is told too"),
    ("offline/ni run", "the component is named"),
    ("run/run", "the datastore is another"),
    ("run/run with --init of one that exists", "the datastore is another"),
    ("while running/second run", "the lock of the folder says who is there"),
];

/// What is not replayed here: it shows items of another peer, which this test does not run, or of the reference's own.
const NOT_REPLAYED: &[&str] = &[
    "socket/GET /id",
    "socket/GET /pins*",
    "socket/GET /allocations",
    "socket/GET /peers",
    "socket/POST /ipfs/gc?local=true",
    "socket/GET /health/graph",
    "socket/GET /monitor/metrics/ping",
    "rest of alpha/*",
    "while running/list",
    "after/list*",
    "run/run after a change of address",
];

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

struct Replay {
    world: World,
    /// Recorded text → text here, for addresses and folders.
    here: Vec<(String, String)>,
    running: Option<Running>,
    daemon_is_down: bool,
}

impl Replay {
    fn new(served: &Value) -> Self {
        let world = World::new();
        let host = serve(|host| {
            let texts = served.as_object().expect("texts by URL").iter();
            let here = |text: &Value| text.as_str().expect("text").replace("127.0.0.1:8999", host);
            texts.map(|(url, text)| (url.replace("http://127.0.0.1:8999", ""), here(text))).collect()
        });
        let kubo = world.kubo.multiaddr();
        let here = vec![
            ("$DIR".to_owned(), world.folder.path().display().to_string()),
            ("127.0.0.1:8999".into(), host),
            ("127.0.0.1:9999".into(), nobody()),
            ("127.0.0.1:8080".into(), nobody()),
            ("/ip4/127.0.0.1/tcp/5001".into(), kubo),
        ];
        Self { world, here, running: None, daemon_is_down: false }
    }

    fn to_here(&self, text: &str) -> String {
        self.here.iter().fold(text.to_owned(), |text, (recorded, here)| text.replace(recorded, here))
    }

    fn to_recorded(&self, text: &str) -> String {
        self.here.iter().fold(text.to_owned(), |text, (recorded, here)| text.replace(here, recorded))
    }

    /// Puts the follower's configuration where nobody answers.
    fn end_source(&mut self) {
        let gone = nobody();
        let path = self.world.path("f/tc/service.json");
        let text = std::fs::read_to_string(&path).expect("there").replace(&self.here[1].1, &gone);
        std::fs::write(path, text).expect("written");
        self.here.push(("127.0.0.1:8999".into(), gone));
    }

    fn command(&self, case: &Value) -> std::process::Command {
        let args: Vec<String> = strings(&case["args"]).iter().map(|arg| self.to_here(arg)).collect();
        let mut command = self.world.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        if self.daemon_is_down {
            command.env("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", format!("/ip4/{}", nobody().replace(':', "/tcp/")));
        }
        for (name, value) in case["env"].as_object().into_iter().flatten() {
            command.env(name, self.to_here(value.as_str().expect("text")));
        }
        command
    }

    /// What differs between the recording and what happens here; empty: nothing.
    fn play(&mut self, case: &Value) -> Vec<String> {
        match case["to"].as_str() {
            Some(_) => self.ask(case),
            None => self.run(case),
        }
    }

    fn run(&mut self, case: &Value) -> Vec<String> {
        let (code, out, err) = match case["signal"].as_str() {
            Some(signal) => {
                let running = self.running.take().unwrap_or_else(|| self.start(case));
                running.stop(signal)
            }
            None => {
                let output = self.command(case).output().expect("the program runs");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (output.status.code(), text(&output.stdout), text(&output.stderr))
            }
        };
        let unordered = strings(&case["unordered"]).contains(&"/stdout".to_owned());
        let lines = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if unordered {
                lines.sort();
            }
            lines
        };
        let mut wrong = Vec::new();
        compare(&mut wrong, "exit", &case["exit"].as_i64(), &code.map(i64::from));
        compare(
            &mut wrong,
            "stdout",
            &lines(case["stdout"].as_str().unwrap_or_default()),
            &lines(&self.to_recorded(&out)),
        );
        if case["signal"].is_null() {
            let said = said(&self.to_recorded(&err));
            compare(&mut wrong, "stderr", &self::said(case["stderr"].as_str().unwrap_or_default()), &said);
        }
        for (path, expected) in case["files_after"].as_object().into_iter().flatten() {
            self.look(&mut wrong, path, expected);
        }
        wrong
    }

    fn start(&self, case: &Value) -> Running {
        Running::start(self.command(case), &self.world.path("f/tc/api-socket"))
    }

    fn look(&self, wrong: &mut Vec<String>, path: &str, expected: &Value) {
        let here = self.to_here(path);
        let here = Path::new(&here);
        if expected.is_null() {
            return compare(wrong, path, &false, &here.exists());
        }
        let Ok(facts) = here.metadata() else { return wrong.push(format!("{path} is not there")) };
        if let Some(expected) = expected["mode"].as_str() {
            compare(wrong, path, &expected, &format!("0o{:o}", facts.permissions().mode() & 0o777).as_str());
        }
        if expected["dir"].is_array() {
            let entries = std::fs::read_dir(here).expect("a folder").filter_map(Result::ok);
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            compare(wrong, path, &strings(&expected["dir"]), &names);
        } else if !path.contains("/rnd/identity.json") {
            let text = std::fs::read_to_string(here).expect("a file");
            compare(wrong, path, &expected["text"].as_str(), &Some(self.to_recorded(&text).as_str()));
        }
    }

    fn ask(&mut self, case: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let running = self.running.as_ref().expect("the follower runs");
        if case["request"].is_null() {
            let mode = running.socket.metadata().expect("there").permissions().mode();
            compare(&mut wrong, "mode", &case["response"]["mode"].as_str(), &Some(format!("0o{mode:o}").as_str()));
            return wrong;
        }
        let request = &case["request"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = request["headers"].as_array().into_iter().flatten();
        let kind = headers.filter(|h| h[0] == "Content-Type").map(|h| text(&h[1])).next().unwrap_or_default();
        let (method, target, body) = (text(&request["method"]), text(&request["target"]), text(&request["body"]));
        let (status, answer) = running.ask(&method, &target, &body, &kind);
        compare(&mut wrong, "status", &case["response"]["status"].as_u64(), &Some(u64::from(status)));
        for trailer in case["response"]["trailers"].as_array().into_iter().flatten() {
            let there =
                answer.to_lowercase().contains(&format!("{}: {}", text(&trailer[0]), text(&trailer[1])).to_lowercase());
            compare(&mut wrong, "trailer", &true, &there);
        }
        let body = text(&case["response"]["body"]);
        if !body.is_empty() {
            compare(&mut wrong, "body", &body, &answer);
        }
        wrong
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().expect("text").to_owned()).collect()
}

/// Without lines of the log and what stands for a stack trace.
fn said(text: &str) -> Vec<String> {
    let is_log = |line: &&str| line.len() > 20 && line.as_bytes()[4] == b'-' && line.as_bytes()[10] == b'T';
    text.lines().filter(|line| !is_log(line) && *line != "<stack trace>").map(str::to_owned).collect()
}

fn compare<T: PartialEq + std::fmt::Debug>(wrong: &mut Vec<String>, what: &str, recorded: &T, here: &T) {
    if recorded != here {
        wrong.push(format!("{what}: recorded {recorded:?}, here {here:?}"));
    }
}

#[test]
fn the_recorded_cases_are_equal_or_named() {
    let recorded: Value = serde_json::from_str(RECORDED).expect("JSON");
    let cases = recorded["cases"].as_array().expect("cases");
    let mut replay = Replay::new(&recorded["served"]);
    let by_name: BTreeMap<&str, &Value> =
        cases.iter().map(|case| (case["name"].as_str().expect("a name"), case)).collect();
    let (mut equal, mut different, mut left_out, mut failures) = (0, 0, 0, Vec::new());
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        if NOT_REPLAYED.iter().any(|pattern| matches(pattern, name)) {
            left_out += 1;
            continue;
        }
        if name == "socket/GET /version" {
            // It ran before the first request, and is stopped by its own case.
            replay.running = Some(replay.start(by_name["run/run"]));
        }
        replay.daemon_is_down |= name == "after/info with ipfs down";
        if name == "after/info with source down" {
            replay.end_source();
        }
        let wrong = replay.play(case);
        let named = DIFFERENT.iter().find(|(pattern, _)| matches(pattern, name)).filter(|(_, why)| *why != "equal");
        match (wrong.is_empty(), named) {
            (true, None) => equal += 1,
            (false, Some(_)) => different += 1,
            (true, Some(_)) => failures.push(format!("{name}: is equal, and named as different")),
            (false, None) => failures.push(format!("{name}: {}", wrong.join("; "))),
        }
    }
    println!("{} recorded cases: {equal} equal, {different} different by name, {left_out} not replayed", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
