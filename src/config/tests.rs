//! What a file and the environment become, and what is said about them when they are wrong.

use std::{fs, path::PathBuf, time::Duration};

use secrecy::ExposeSecret;

use super::*;
use crate::{domain::life::Failover, private_file::tests::Folder};

const NO_ENVIRONMENT: [(&str, &str); 0] = [];

fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let folder = Folder::new();
    let path = folder.0.join("gateway.toml");
    fs::write(&path, text).unwrap();
    load(Some(&path), environment(variables))
}

/// The problems of a file, one line each.
fn problems(text: &str) -> Vec<String> {
    let errors = load_text(text, &NO_ENVIRONMENT).unwrap_err();
    errors.to_string().lines().map(str::to_owned).collect()
}

fn example() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("gateway.example.toml")).unwrap()
}

#[test]
fn with_nothing_said_the_sandbox_takes_everything() {
    let config = load_text("", &NO_ENVIRONMENT).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.database.data_dir, PathBuf::from("data"));
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["sandbox", "sandbox_backup"]);
    assert!(config.providers.values().all(|provider| provider.driver == "sandbox"));
    let [route] = &config.routes[..] else { panic!("one route") };
    assert_eq!(route.matches, RouteMatch::default());
    assert_eq!(
        route.steps.iter().map(|step| step.provider.as_str()).collect::<Vec<_>>(),
        ["sandbox", "sandbox_backup"]
    );
    assert_eq!(route.failover, Failover::OnRejection);
    assert_eq!((config.apps["demo"].role, config.apps["operator"].role), (Role::App, Role::Operator));
    assert!(config.first_start);
}

#[test]
fn with_an_app_of_ones_own_nobody_stands_in() {
    let config = load_text("[apps.shop]", &NO_ENVIRONMENT).unwrap();
    assert_eq!(config.apps.keys().collect::<Vec<_>>(), ["shop"]);
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["sandbox"]);
    assert!(!config.first_start && config.routes.is_empty());
}

#[test]
fn the_example_has_every_key_and_no_problem() {
    let config = load_text(&example(), &NO_ENVIRONMENT).unwrap();
    let huawei = &config.providers["huawei_intl"];
    assert_eq!((huawei.timeout, huawei.max_in_flight), (Duration::from_secs(10), 8));
    assert_eq!(huawei.report_window, Some(Duration::from_hours(76)));
    assert_eq!(huawei.settings["app_key"].as_str(), Some("application-key"));
    assert!(!huawei.settings.contains_key("rate_per_second"), "common keys are not the driver's");
    assert_eq!(config.routes[0].steps[1].after_seconds, Some(45));
    let code = config.templates["login_code"].params[0].pattern.as_ref().unwrap();
    assert!(code.is_match("123456") && !code.is_match("1234567") && !code.is_match("x1234"));
    assert_eq!(config.limits.otp_per_number.to_string(), "5/10m");
    assert_eq!(config.apps["shop"].webhook_secret.len(), 1);
    let warned: Vec<String> = config.warnings().into_iter().map(|warning| warning.key).collect();
    assert_eq!(warned, ["providers.voice_vn.base_url"]);
}

#[test]
fn the_defaults_that_the_example_shows_are_the_real_ones() {
    let (shown, real) = (load_text(&example(), &NO_ENVIRONMENT).unwrap(), load_text("", &NO_ENVIRONMENT).unwrap());
    for (shown, real) in [
        (format!("{:?}", shown.dispatch), format!("{:?}", real.dispatch)),
        (format!("{:?}", shown.retention), format!("{:?}", real.retention)),
        (format!("{:?}", shown.opt_out), format!("{:?}", real.opt_out)),
        (format!("{:?}", shown.limits), format!("{:?}", real.limits)),
    ] {
        assert_eq!(shown, real);
    }
    assert_eq!(shown.server.listen, real.server.listen);
    assert_eq!(shown.database.max_connections, real.database.max_connections);
}

#[test]
fn every_problem_is_told_at_once_with_its_key() {
    let told = problems(
        r#"
        typo = 1
        [server]
        listen = "localhost"
        secret_key = ["c2hvcnQ="]
        [database]
        max_connections = "16"
        [retention]
        messages_days = 34
        [limits]
        otp_per_number = "5 in 10m"
        [providers.nxcloud]
        countries = ["VM"]
        [providers.slow]
        driver = "sandbox"
        timeout_seconds = 25
        [templates.code]
        text = "{{code}} {{name}}"
        params = [{ name = "code", pattern = "[" }]
        bindings.nobody = { params = ["other"] }
        [routes.Bad-Name]
        steps = [{ provider = "slow" }]
        [routes.otp_vn]
        match = { apps = ["bank"], prefixes = ["8436"], categories = ["spam"] }
        steps = [{ provider = "slow", form = "x" }, { provider = "nowhere" }, { provider = "slow" }]
        [apps.shop]
        keys = ["sha256:12"]
        default_route = "nowhere"
        webhook_url = "https://evil.example/"
        webhook_secret = "secret"
        callback_hosts = ["shop.internal"]
        "#,
    );
    let keys: Vec<&str> = told.iter().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(
        keys,
        [
            "apps.shop.default_route",
            "apps.shop.keys[0]",
            "apps.shop.webhook_secret",
            "apps.shop.webhook_url",
            "database.max_connections",
            "dispatch.lease_seconds",
            "limits.otp_per_number",
            "providers.nxcloud.countries[0]",
            "providers.nxcloud.driver",
            "retention.messages_days",
            "routes.Bad-Name",
            "routes.otp_vn.match.apps[0]",
            "routes.otp_vn.match.categories[0]",
            "routes.otp_vn.match.prefixes[0]",
            "routes.otp_vn.steps[0].form",
            "routes.otp_vn.steps[1].provider",
            "routes.otp_vn.steps[2].provider",
            "server.listen",
            "server.secret_key",
            "templates.code.bindings.nobody",
            "templates.code.bindings.nobody.params[0]",
            "templates.code.params[0].pattern",
            "templates.code.text",
            "typo",
        ],
        "{told:#?}"
    );
}

#[test]
fn each_of_these_files_has_exactly_one_problem() {
    let hash = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let two_apps = format!("[apps.a]\nkeys = ['{hash}']\n[apps.b]\ntest_keys = ['{hash}']");
    for (text, key) in [
        ("[server]\nlisten = 8080", "server.listen"),
        ("[server]\ncallback_listen = '127.0.0.1:8080'", "server.callback_listen"),
        ("[server]\npublic_url = 'ftp://x'", "server.public_url"),
        ("[server]\ntrusted_proxies = ['10.0.0.0/33']", "server.trusted_proxies[0]"),
        ("[server]\nsecret_key = 'not base64'", "server.secret_key"),
        ("[database]\nurl = 'mysql://x'", "database.url"),
        ("[database]\nallow_unsafe_durability = 'yes'", "database.allow_unsafe_durability"),
        ("[dispatch]\nlease_seconds = 15", "dispatch.lease_seconds"),
        ("[dispatch]\nmax_attempts = 0", "dispatch.max_attempts"),
        ("[opt_out]\nstart = ['stop']", "opt_out.start[0]"),
        ("[limits]\nprefix_velocity = 'on'", "limits.prefix_velocity"),
        ("[telemetry]\nlog_format = 'xml'", "telemetry.log_format"),
        ("[telemetry]\nlevel = 'debug'", "telemetry.level"),
        ("server = 1", "server"),
        ("[providers]\nsandbox = 1", "providers.sandbox"),
        ("[providers.sandbox]\ndriver = 'nxcloud_did'", "providers.sandbox.driver"),
        ("[providers.sandbox]\nsenders = ['a', 'b', 'a']", "providers.sandbox.senders[2]"),
        ("[providers.sandbox]\ncallback_token = 'a/b'", "providers.sandbox.callback_token"),
        ("[providers.sandbox]\ncallback_allow = ['host']", "providers.sandbox.callback_allow[0]"),
        ("[providers.sandbox]\nrate_per_second = 0", "providers.sandbox.rate_per_second"),
        ("[providers.sandbox]\nbalance_alarm = -1", "providers.sandbox.balance_alarm"),
        ("[providers.hw]\ndriver = 'huawei_sms'\nreports = 'callback'", "server.public_url"),
        ("[templates.t]", "templates.t.text"),
        ("[templates.t]\ntext = 'x'\ncategory = 'spam'", "templates.t.category"),
        ("[templates.t]\ntext = '{{code'", "templates.t.text"),
        ("[templates.t]\ntext = 'x'\nparams = [{ name = 1 }]", "templates.t.params[0].name"),
        ("[templates.t]\ntext = 'x'\nparams = [{ name = 'a' }, { name = 'a' }]", "templates.t.params[1].name"),
        ("[templates.t]\ntext = '{{code'", "templates.t.text"),
        ("[templates.t]\ntext = 'x'\nparams = [{ name = 1 }]", "templates.t.params[0].name"),
        ("[templates.t]\ntext = 'x'\nparams = [{ nam = 'a', name = 'a' }]", "templates.t.params[0].nam"),
        ("[routes.r]", "routes.r.steps"),
        ("[routes.r]\nsteps = []", "routes.r.steps"),
        ("[routes.r]\nsteps = [{}]", "routes.r.steps[0].provider"),
        ("[routes.r]\nsteps = [{ provider = 'sandbox', after_seconds = -1 }]", "routes.r.steps[0].after_seconds"),
        ("[routes.r]\nsteps = [{ provider = 'sandbox' }]\nfailover = 'always'", "routes.r.failover"),
        (
            "[routes.r]\nsteps = [{ provider = 'sandbox' }]\nmatch = { countries = ['vn'] }",
            "routes.r.match.countries[0]",
        ),
        (
            "[providers.p]\ndriver = 'sandbox'\nfrom = 'A'\n[routes.r]\nsteps = [{ provider = 'p', from = 'B' }]",
            "routes.r.steps[0].from",
        ),
        ("[apps.a]\nrole = 'admin'", "apps.a.role"),
        ("[apps.a]\nroutes = ['r']", "apps.a.routes[0]"),
        ("[apps.a]\nproviders = ['p']", "apps.a.providers[0]"),
        ("[apps.a]\ntemplates = ['t']", "apps.a.templates[0]"),
        ("[apps.a]\nwebhook_events = ['message.read']", "apps.a.webhook_events[0]"),
        ("[apps.a]\nwebhook_secret = 'whsec_*'", "apps.a.webhook_secret"),
        ("[apps.a]\ncallback_hosts = ['http://x']", "apps.a.callback_hosts[0]"),
        ("[apps.a]\nwebhook_url = 'ftp://x'\ncallback_hosts = ['x']", "apps.a.webhook_url"),
        ("[apps.a]\ninbound_numbers = ['+861']\n[apps.b]\ninbound_numbers = ['861']", "apps.b.inbound_numbers[0]"),
        (two_apps.as_str(), "apps.b.test_keys[0]"),
    ] {
        let told = problems(text);
        assert!(told.len() == 1 && told[0].starts_with(&format!("{key}: ")), "{text}\n{told:?}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_is_read_as_what_the_key_wants() {
    let file =
        "[database]\nmax_connections = 5\n[providers.p]\ndriver = 'sandbox'\n[routes.r]\nsteps = [{ provider = 'p' }]";
    let variables = [
        ("SMS_GATEWAY__DATABASE__MAX_CONNECTIONS", "7"),
        ("SMS_GATEWAY__DISPATCH__HOLD_ON_START", "true"),
        ("SMS_GATEWAY__SERVER__TRUSTED_PROXIES", r#"["10.0.0.0/8", "::1"]"#),
        ("SMS_GATEWAY__PROVIDERS__P__SENDERS", "A,B"),
        ("SMS_GATEWAY__PROVIDERS__P__CALLBACK_TOKEN", "00012345"),
        ("SMS_GATEWAY__PROVIDERS__P__APP_SECRET", "0x10"),
        ("SMS_GATEWAY__ROUTES__R__MATCH", r#"{ countries = ["VN"] }"#),
        ("SMS_GATEWAY__ROUTES__R__STEPS__0__FROM", "A"),
        ("SMS_GATEWAY__TELEMETRY__OTLP_ENDPOINT", ""),
        ("SMS_GATEWAY_KEY", "not a setting"),
    ];
    let config = load_text(file, &variables).unwrap();
    let provider = &config.providers["p"];
    assert_eq!(config.database.max_connections, 7);
    assert!(config.dispatch.hold_on_start);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(provider.senders, ["A", "B"]);
    assert_eq!(provider.callback_token[0].expose_secret(), "00012345");
    assert_eq!(provider.settings["app_secret"].as_str(), Some("0x10"));
    assert_eq!(config.routes[0].matches.countries, ["VN"]);
    assert_eq!(config.routes[0].steps[0].from.as_deref(), Some("A"));
    assert!(config.telemetry.otlp_endpoint.is_none());
}

#[test]
fn a_variable_that_fits_nowhere_is_a_problem() {
    for (name, value, key) in [
        ("SMS_GATEWAY__SERVER__LISTEM", "x", "server.listem"),
        ("SMS_GATEWAY__SERVER__LISTEN__PORT", "1", "server.listen"),
        ("SMS_GATEWAY__DATABASE__MAX_CONNECTIONS", "many", "database.max_connections"),
    ] {
        let errors = load_text("[server]\nlisten = '127.0.0.1:1'", &[(name, value)]).unwrap_err();
        assert_eq!(errors.problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [key]);
    }
}

#[test]
fn the_usual_name_of_the_database_is_understood_and_our_own_wins() {
    let url = |variables: &[(&str, &str)]| {
        let config = load_text("[database]\nurl = 'postgres://file/x'", variables).unwrap();
        config.database.url.unwrap().expose_secret().to_owned()
    };
    let (usual, own) = (("DATABASE_URL", "postgres://usual/x"), ("SMS_GATEWAY__DATABASE__URL", "postgres://own/x"));
    assert_eq!(url(&[]), "postgres://file/x");
    assert_eq!(url(&[usual]), "postgres://usual/x");
    assert_eq!(url(&[own, usual]), "postgres://own/x");
}

#[test]
fn a_file_that_somebody_named_must_be_there() {
    let folder = Folder::new();
    let (here, absent) = (folder.0.join("here.toml"), folder.0.join("absent.toml"));
    fs::write(&here, "[dispatch]\nmax_attempts = 9").unwrap();
    let named = |path: &PathBuf| vec![("SMS_GATEWAY_CONFIG".to_owned(), path.display().to_string())].into_iter();
    assert_eq!(load(None, named(&here)).unwrap().dispatch.max_attempts, 9);
    assert_eq!(load(Some(&here), named(&absent)).unwrap().dispatch.max_attempts, 9);
    for errors in [load(None, named(&absent)).unwrap_err(), load(Some(&absent), named(&here)).unwrap_err()] {
        assert!(errors.to_string().contains("absent.toml: cannot be read"), "{errors}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_the_place_and_without_the_line() {
    let told = problems("[database]\nurl = \"postgres://hunter2\n");
    assert!(told.len() == 1 && told[0].contains("line 2, column") && !told[0].contains("hunter2"), "{told:?}");
}

#[test]
fn check_wants_the_root_secret_where_a_database_may_be_shared() {
    let database = ("DATABASE_URL", "postgres://db/x");
    let key = ("SMS_GATEWAY__SERVER__SECRET_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let folder = Folder::new();
    let path = folder.0.join("gateway.toml");
    fs::write(&path, "").unwrap();
    let errors = check(Some(&path), environment(&[database])).unwrap_err();
    assert!(errors.to_string().starts_with("server.secret_key: "), "{errors}");
    assert!(check(Some(&path), environment(&[database, key])).is_ok());
    assert!(check(Some(&path), environment(&[])).is_ok());
    assert!(load(Some(&path), environment(&[database])).is_ok());
}

#[test]
fn a_driver_adds_its_problems_to_the_others() {
    let mut errors = load_text("[providers.p]\ndriver = 'x'\n[retention]\nmessages_days = 1", &[]).unwrap_err();
    assert_eq!(errors.providers["p"].driver, "x");
    errors.add_settings("p", vec![ConfigProblem { key: "app_key".into(), problem: "is missing".into() }]);
    let lines = errors.to_string();
    assert_eq!(lines.lines().next(), Some("providers.p.app_key: is missing"));
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn debug_output_holds_no_secret() {
    let shown = format!("{:?}", load_text(&example(), &NO_ENVIRONMENT).unwrap());
    for secret in [
        "application-secret",
        "account-password",
        "db-password",
        "random-token",
        "RVhBTVBMRS",
        "push-secret",
        "access-secret",
    ] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

mod reloading {
    use super::*;

    fn reload_from(running: &Config, text: &str) -> Result<Reloaded, ConfigErrors> {
        let folder = Folder::new();
        let path = folder.0.join("gateway.toml");
        fs::write(&path, text).unwrap();
        reload(running, Some(&path), environment(&[]))
    }

    #[test]
    fn apps_routes_templates_and_providers_change() {
        let running = load_text("[server]\npublic_url = 'https://sms.example.com'", &NO_ENVIRONMENT).unwrap();
        let reloaded = reload_from(&running, &example()).unwrap();
        assert!(reloaded.config.apps.contains_key("shop") && reloaded.config.templates.contains_key("login_code"));
        assert_eq!(reloaded.config.routes[0].name, "otp_vn");
        assert!(reloaded.config.providers.contains_key("nxcloud"));
    }

    #[test]
    fn everything_else_stays_and_is_named() {
        let running =
            load_text("[server]\nlisten = '127.0.0.1:1'\n[limits]\nmax_segments = 3", &NO_ENVIRONMENT).unwrap();
        let text = "[server]\nlisten = '127.0.0.1:2'\n[database]\nurl = 'postgres://x'\n[limits]\nmax_segments = 3";
        let reloaded = reload_from(&running, text).unwrap();
        let warned: Vec<&str> = reloaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
        assert_eq!(warned, ["server.listen", "database.url"]);
        assert_eq!(reloaded.config.server.listen.port(), 1);
        assert!(reloaded.config.database.url.is_none());
    }

    #[test]
    fn what_is_new_must_fit_what_stays() {
        let running = load_text("", &NO_ENVIRONMENT).unwrap();
        let text = "[dispatch]\nlease_seconds = 60\n[providers.p]\ndriver = 'sandbox'\ntimeout_seconds = 40";
        assert!(load_text(text, &NO_ENVIRONMENT).is_ok());
        let errors = reload_from(&running, text).unwrap_err();
        assert!(errors.to_string().starts_with("dispatch.lease_seconds: "), "{errors}");
    }

    #[test]
    fn a_bad_file_is_refused() {
        let running = load_text("", &NO_ENVIRONMENT).unwrap();
        assert!(reload_from(&running, "[apps.a]\nrole = 'king'").is_err());
    }
}
