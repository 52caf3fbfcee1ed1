//! The Pinning Service API. Where the reference departs from the specification, its answer is first put into the
//! specification's form, so that the rest of it is still compared.

use super::world::World;
use super::{Outcome, Tally, compare, http, items, recordings, text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The name of the differences that [`in_form`] evens out.
const FORM: &str = "the form is the specification's: POST answers 202, a wrong query 400, an error has a code as its reason \
                    and the text as its details, ids are the CID and the creation time, and `info` says nothing of conflicts";

/// The content of other recordings that is pinned here, and was never added.
const NEVER_ADDED: &str = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";

/// How long a pin of a small block may be on its way.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn proc_golden_pinsvc() {
    let recorded = recordings("pinsvc");
    let mut world = World::new(&recordings("service")["base"]["crdt"]);
    world.nobody_has(NEVER_ADDED);
    let mut tally = Tally::new("pinsvc");
    for case in items(&recorded, "cases") {
        world.before(case);
        let in_form = in_form(case);
        tally.add_in_form(case, &settled(&world, case, &in_form), FORM, &in_form);
    }
    tally.finish();
}

/// Plays a case. On a busy machine a pin may be on its way that had arrived when it was recorded: what only reads is asked
/// for again then.
fn settled(world: &World, case: &Value, in_form: &Value) -> Outcome {
    let begun = Instant::now();
    loop {
        let actual = http::play(world, case, ["9097", "9197"]);
        let moving = ["\"pinning\"", "\"queued\""].iter().any(|word| text(&actual.value, "body").contains(word));
        let done = !moving || text(&case["request"], "method") != "GET" || begun.elapsed() > SETTLED_WITHIN;
        if done || compare::differences(in_form, &actual).is_none() {
            return actual;
        }
    }
}

/// The case with its answer as the specification has it.
fn in_form(case: &Value) -> Value {
    let mut case = case.clone();
    let (method, target) = (text(&case["request"], "method").to_owned(), text(&case["request"], "target").to_owned());
    let response = &mut case["response"];
    let Ok(mut body) = serde_json::from_str::<Value>(text(response, "body")) else { return case };
    let status = match response["status"].as_u64() {
        Some(200) if method == "POST" && target.starts_with("/pins") => 202,
        Some(500) if target.starts_with("/pins?") => 400,
        status => status.unwrap_or(0),
    };
    let code = match status {
        400 => "BAD_REQUEST",
        401 => "UNAUTHORIZED",
        404 => "NOT_FOUND",
        _ => "INTERNAL_SERVER_ERROR",
    };
    if let Some(said) = body["error"]["reason"].as_str() {
        body = json!({ "error": { "reason": code, "details": said } });
    }
    response["status"] = json!(status);
    response["body"] = json!(body.to_string());
    let parts = ["/body/0/requestid", "/body/0/info", "/body/0/results/*/requestid", "/body/0/results/*/info"];
    let list = case["volatile"].as_array_mut().expect("a list of what may differ");
    list.extend(parts.map(Value::from));
    case
}

#[test]
fn the_form_changes_no_more_than_it_says() {
    let case = json!({
        "request": { "method": "GET", "target": "/pins?limit=x" },
        "response": { "status": 500, "body": "{\"error\":{\"reason\":\"no\"}}\n" },
        "volatile": [],
    });
    let formed = in_form(&case);

    assert_eq!(formed["response"]["status"], 400);
    assert_eq!(text(&formed["response"], "body"), "{\"error\":{\"reason\":\"BAD_REQUEST\",\"details\":\"no\"}}");
}
