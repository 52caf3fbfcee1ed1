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
    if let Some(limit) = soft_limit(&limits, "Max open files") {
        page.single("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit);
    }
    if let Some(limit) = soft_limit(&limits, "Max address space") {
        let help = "Maximum amount of virtual memory available in bytes.";
        page.single("process_virtual_memory_max_bytes", "gauge", help, limit);
    }
    if let Ok(counts) = std::fs::read_to_string("/proc/self/net/netstat") {
        for (name, key, help) in [
            ("receive", "InOctets", "Number of bytes received by the process over the network."),
            ("transmit", "OutOctets", "Number of bytes sent by the process over the network."),
        ] {
            let octets = ip_count(&counts, key).unwrap_or(0);
            page.single(&format!("process_network_{name}_bytes_total"), "counter", help, octets);
        }
    }
}

/// A soft limit as `/proc/self/limits` tells it; none at all is the largest number.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    match limits.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next())? {
        "unlimited" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// A count of `/proc/self/net/netstat`, where a line of names stands before one of counts. It is that of the process's
/// network namespace, as the exporters of others tell it.
fn ip_count(counts: &str, key: &str) -> Option<u64> {
    let mut lines = counts.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, counts) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == key)?;
    counts.split_whitespace().nth(at)?.parse().ok()
}

/// When the machine was started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
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
    if let Some(boot) = boot_time() {
        #[allow(clippy::cast_precision_loss)] // As above.
        let begun = boot + number(19) as f64 / TICKS_PER_SECOND;
        let help = "Start time of the process since unix epoch in seconds.";
        page.single("process_start_time_seconds", "gauge", help, begun);
    }
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
        assert!(value("process_virtual_memory_max_bytes") >= value("process_virtual_memory_bytes"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age} s");
        assert!(value("process_network_receive_bytes_total") >= 0.0);
    }

    #[test]
    fn a_count_is_that_below_its_name() {
        let counts = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InOctets OutOctets\nIpExt: 3 4\n";
        assert_eq!((ip_count(counts, "OutOctets"), ip_count(counts, "B")), (Some(4), None));
        let limits = "Max address space  unlimited  unlimited  bytes\nMax open files  1024  4096  files\n";
        assert_eq!(soft_limit(limits, "Max address space"), Some(u64::MAX));
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
    }
}
