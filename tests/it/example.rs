//! The example configuration, as a person would start from it: the sections and the drivers agree with every key.

use std::path::Path;

use sms_gateway::{
    clock::Clock,
    config,
    providers::{DRIVERS, Setup},
};

#[test]
fn every_driver_takes_its_part_of_the_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.example.toml");
    let config = config::load(Some(&path), std::iter::empty()).unwrap();
    assert_eq!(config.providers.len(), DRIVERS.len(), "one provider for each driver");
    for (name, section) in config.providers {
        let (_, build) = DRIVERS.iter().find(|(driver, _)| *driver == section.driver).unwrap();
        let setup = Setup {
            name: name.clone(),
            from: section.from,
            senders: section.senders,
            timeout: section.timeout,
            settings: section.settings,
            clock: Clock::system(),
            feed: None,
        };
        let problems = build(setup).err().unwrap_or_default();
        assert_eq!(problems, [], "{name}");
    }
}
