//! A Kubo that answers at once, to measure the cluster by: `cargo run --release -p cluster-testkit --example fake_kubo
//! -- 127.0.0.1:15001`.

use cluster_testkit::kubo::FakeKubo;

fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5001".to_owned());
    let kubo = FakeKubo::start_at(address.parse().expect("an address such as 127.0.0.1:5001"));
    println!("{}", kubo.multiaddr());
    loop {
        std::thread::park();
    }
}
