//! What the operating system tells of this process, by the names that every exporter gives it.

use super::exposition::Page;

/// Clock ticks of the kernel's interface in a second, which is a constant of it.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes of a page of memory, as far as the machines that this is built for go.
const PAGE_BYTES: u64 = 4096;

pub(super) fn write(page: &mut Page) {
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        from_stat(&stat, page);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.single("process_open_fds", "gauge", "Number of open file descriptors.", open.count());
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    if let Some(limit) = soft.and_then(|text| text.parse::<u64>().ok()) {
        page.single("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit);
    }
}

/// `/proc/self/stat`, from the field after the program's name on.
fn from_stat(stat: &str, page: &mut Page) {
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    #[allow(clippy::cast_precision_loss)] // Ticks are exact for ages.
    let seconds = (number(11) + number(12)) as f64 / TICKS_PER_SECOND;
    let help = "Total user and system CPU time spent in seconds.";
    page.single("process_cpu_seconds_total", "counter", help, seconds);
    page.single("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", number(20));
    let help = "Resident memory size in bytes.";
    page.single("process_resident_memory_bytes", "gauge", help, number(21) * PAGE_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some_of_everything() {
        let mut page = Page::default();
        write(&mut page);
        let value = |name: &str| {
            let line = page.0.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
            line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok()).expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
    }
}
