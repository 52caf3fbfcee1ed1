//! What every [`Informer`] must do.

use cluster_component::component::Informer;
use cluster_component::ports::Clock;
use cluster_types::PeerId;

/// Runs the suite against an informer of the peer `me` that can find out its figures, and then, after `fail`, cannot.
///
/// # Panics
/// When the informer does not keep the contract.
pub async fn run(informer: &dyn Informer, me: PeerId, clock: &dyn Clock, fail: impl FnOnce()) {
    assert!(!informer.key().is_empty());
    let metrics = informer.metrics().await;
    assert!(!metrics.is_empty(), "no metric at all");
    for metric in &metrics {
        assert!(metric.valid, "{} is not valid", metric.name);
        assert_eq!(metric.peer, me);
        assert!(!metric.name.is_empty() && metric.expire > clock.now().wall, "{metric:?} does not count");
    }
    let names = |metrics: &[cluster_types::Metric]| metrics.iter().map(|m| m.name.clone()).collect::<Vec<_>>();

    // What cannot be found out is told all the same, and as such: nobody goes by it.
    fail();
    let failed = informer.metrics().await;
    assert_eq!(names(&failed), names(&metrics));
    assert!(failed.iter().all(|metric| !metric.valid || metric.expire > clock.now().wall));
}
