//! The end of a program whose reader has gone, such as `head` after its lines.

/// What a shell reports of a program that was ended by `SIGPIPE`: 128 and the signal's number.
const ENDED_BY_PIPE: i32 = 141;

/// From here on, printing to a reader that has gone ends the program quietly instead of with a panic. The signal itself is
/// not let through, since it would also end programs that write to a connection which the other side has closed.
pub fn end_without_readers() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        // The text of `print!` in the standard library; should it change, the panic is told as any other.
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(ENDED_BY_PIPE);
        }
        usual(panic);
    }));
}
