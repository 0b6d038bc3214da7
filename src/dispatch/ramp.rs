//! How many calls at once a provider gets while it comes back: one at first, twice as many after as many calls went well, until
//! it has all its slots again. Without it, everything that waited would fall on a provider that has only just recovered.

/// The ramp of one provider.
#[derive(Debug, Default)]
pub struct Ramp {
    /// Calls at once; none: no limit of ours.
    slots: Option<usize>,
    /// How many went well in a row since the last step.
    well: usize,
}

impl Ramp {
    /// Begins with one call at once.
    pub fn start(&mut self) {
        *self = Self { slots: Some(1), well: 0 };
    }

    /// Calls at once, while it is limited.
    pub fn slots(&self) -> Option<usize> {
        self.slots
    }

    /// Takes in how a call went. `most` is what the provider may have at once by its configuration.
    pub fn record(&mut self, went_well: bool, most: usize) {
        let Some(slots) = self.slots else { return };
        if !went_well {
            self.start();
            return;
        }
        self.well += 1;
        if self.well >= slots {
            let doubled = slots * 2;
            *self = Self { slots: (doubled < most).then_some(doubled), well: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_double_each_time_as_many_calls_went_well() {
        let mut ramp = Ramp::default();
        assert_eq!(ramp.slots(), None);
        ramp.start();
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push(ramp.slots());
            ramp.record(true, 8);
        }
        assert_eq!(seen, [Some(1), Some(2), Some(2), Some(4), Some(4), Some(4), Some(4)]);
        assert_eq!(ramp.slots(), None, "eight are all that there are");
    }

    #[test]
    fn a_failure_on_the_way_begins_it_anew() {
        let mut ramp = Ramp::default();
        ramp.start();
        (0..3).for_each(|_| ramp.record(true, 32));
        assert_eq!(ramp.slots(), Some(4));
        ramp.record(false, 32);
        assert_eq!(ramp.slots(), Some(1));
    }

    #[test]
    fn a_provider_with_one_slot_needs_no_ramp() {
        let mut ramp = Ramp::default();
        ramp.start();
        ramp.record(true, 1);
        assert_eq!(ramp.slots(), None);
    }
}
