//! Waiting for a card to be put in, and for one to be taken out.
//!
//! sysfs is looked at a few times a second: that works without privileges, in containers and on macOS alike, and a person who puts
//! in a card does not notice.

use super::Device;
use crate::error::Result;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(250);

/// The media that are in: a reader with another card in it has another `diskseq`, and one without a card size 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Present(BTreeSet<(PathBuf, Option<u64>, u64)>);

impl Present {
    pub fn of(devices: &[Device]) -> Present {
        let present = devices.iter().filter(|device| device.size > 0);
        Present(present.map(Present::key).collect())
    }

    fn key(device: &Device) -> (PathBuf, Option<u64>, u64) {
        (device.path.clone(), device.diskseq, device.size)
    }

    /// The first of `devices` that was not there before.
    pub fn inserted<'a>(&self, devices: &'a [Device]) -> Option<&'a Device> {
        devices
            .iter()
            .find(|device| device.size > 0 && !self.0.contains(&Present::key(device)))
    }

    pub fn contains(&self, device: &Device) -> bool {
        self.0.contains(&Present::key(device))
    }
}

/// Waits until a disk that `fits` is there which is not in `before`; `None` when `stop` was set. What was taken out meanwhile is
/// forgotten, so that the same card can be put in again. `look` lists the disks, `pause` waits a moment.
///
/// # Errors
/// The disks cannot be listed.
pub fn for_insert(
    mut before: Present,
    fits: impl Fn(&Device) -> bool,
    mut look: impl FnMut() -> Result<Vec<Device>>,
    mut pause: impl FnMut(),
    stop: &AtomicBool,
) -> Result<Option<Device>> {
    while !stop.load(Ordering::Relaxed) {
        let devices = look()?;
        let fitting: Vec<Device> = devices.into_iter().filter(&fits).collect();
        if let Some(device) = before.inserted(&fitting) {
            return Ok(Some(device.clone()));
        }
        let now = Present::of(&fitting);
        before.0.retain(|key| now.0.contains(key));
        pause();
    }
    Ok(None)
}

/// Waits until `device` is gone; whether it is (else `stop` was set).
///
/// # Errors
/// The disks cannot be listed.
pub fn for_removal(
    device: &Device,
    mut look: impl FnMut() -> Result<Vec<Device>>,
    mut pause: impl FnMut(),
    stop: &AtomicBool,
) -> Result<bool> {
    while !stop.load(Ordering::Relaxed) {
        if !Present::of(&look()?).contains(device) {
            return Ok(true);
        }
        pause();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::card;
    use super::*;

    fn with(name: &str, diskseq: u64, size: u64) -> Device {
        Device {
            path: name.into(),
            diskseq: Some(diskseq),
            size,
            ..card()
        }
    }

    /// What is found when each look shows the next of `looks`; the stop flag is set behind the last.
    fn found(before: &[Device], looks: &[Vec<Device>]) -> Option<PathBuf> {
        let stop = AtomicBool::new(false);
        let mut looks = looks.iter();
        let look = || {
            let next = looks.next();
            stop.store(looks.len() == 0, Ordering::Relaxed);
            Ok(next.cloned().unwrap_or_default())
        };
        let device = for_insert(Present::of(before), |_| true, look, || {}, &stop).unwrap();
        device.map(|device| device.path)
    }

    #[test]
    fn a_card_is_noticed() {
        let (a, b) = (with("/dev/sdb", 1, 100), with("/dev/sdc", 2, 100));
        let (empty, other) = (with("/dev/sdb", 1, 0), with("/dev/sdb", 3, 100));
        for (before, looks, expected) in [
            (
                vec![a.clone()],
                vec![vec![a.clone()], vec![a.clone(), b.clone()]],
                Some("/dev/sdc"),
            ),
            (vec![a.clone()], vec![vec![a.clone()], vec![a.clone()]], None),
            // Into a reader that was there, without and with a card.
            (
                vec![empty.clone()],
                vec![vec![empty.clone()], vec![a.clone()]],
                Some("/dev/sdb"),
            ),
            (vec![a.clone()], vec![vec![other]], Some("/dev/sdb")),
            // The same card, out and in again.
            (vec![a.clone()], vec![vec![empty], vec![a.clone()]], Some("/dev/sdb")),
        ] {
            assert_eq!(found(&before, &looks), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn its_removal_is_noticed() {
        let stop = AtomicBool::new(false);
        let a = with("/dev/sdb", 1, 100);
        let mut looks = vec![vec![], vec![a.clone()]];
        assert!(for_removal(&a, || Ok(looks.pop().unwrap()), || {}, &stop).unwrap());
        stop.store(true, Ordering::Relaxed);
        assert!(!for_removal(&a, || Ok(vec![]), || {}, &stop).unwrap());
    }
}
