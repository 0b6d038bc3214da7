//! When an event that was not taken is tried again.

use std::time::Duration;

/// From one try to the next; after the last of them no more are made. All together a little less than a day.
pub const GAPS: [Duration; 10] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
    Duration::from_hours(6),
    Duration::from_hours(10),
];
/// Each gap is up to this part shorter or longer, so that what failed together does not come back together.
pub const JITTER: f64 = 0.1;

/// A receiver that asks for a longer pause is tried again all the same.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// A receiver that took nothing for so long was away: when it takes something again, what waits for it goes at once.
pub const AWAY: Duration = Duration::from_secs(30);

/// While a receiver does not take anything, one event is tried out of turn every so often: an eighth of the time that it has been
/// away, but not more often and not more rarely than this.
const PROBE_GAPS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

/// How long to wait after this many tries; none: that was the last one.
pub fn after(tries: u16) -> Option<Duration> {
    let gap = GAPS.get(usize::from(tries).checked_sub(1)?)?;
    Some(gap.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER)))
}

/// How long to wait between two tries out of turn with a receiver that has been away for so long.
pub fn probe_gap(away: Duration) -> Duration {
    (away / 8).clamp(PROBE_GAPS.0, PROBE_GAPS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tries_are_spread_over_a_day() {
        let total: Duration = GAPS.iter().sum();
        assert!(total <= Duration::from_hours(24) && total > Duration::from_hours(23), "{total:?}");
        assert!(GAPS.is_sorted());
    }

    #[test]
    fn each_gap_is_about_as_the_table_says_and_after_the_last_there_is_none() {
        for (index, gap) in GAPS.iter().enumerate() {
            let tries = u16::try_from(index + 1).unwrap();
            for _ in 0..100 {
                let waited = after(tries).unwrap();
                assert!(waited >= gap.mul_f64(0.9) && waited <= gap.mul_f64(1.1), "{waited:?}");
            }
        }
        assert_eq!((after(11), after(0)), (None, None));
    }

    #[test]
    fn a_receiver_that_is_away_is_probed_ever_more_rarely_but_often_enough() {
        assert_eq!(probe_gap(Duration::ZERO), Duration::from_secs(30));
        assert_eq!(probe_gap(Duration::from_mins(16)), Duration::from_mins(2));
        assert_eq!(probe_gap(Duration::from_hours(20)), Duration::from_mins(5));
    }
}
