use super::*;

const EXAMPLE: &str = include_str!("../../docs/trunkline.example.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, std::iter::empty())
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    Config::parse(text, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn the_example_file_equals_the_defaults_and_names_every_key() {
    let example: Table = EXAMPLE.parse().expect("the example is TOML");
    assert_eq!(keys::paths(&example), keys::paths(&Config::default().to_table()));
    assert_eq!(parse(EXAMPLE).expect("the example loads"), Config::default());
}

#[test]
fn the_example_file_comments_every_key() {
    let mut commented = false;
    for line in EXAMPLE.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(commented, "no comment above: {line}");
        }
        commented = line.starts_with('#') || (commented && !line.is_empty() && !line.contains(" = "));
    }
}

#[test]
fn every_key_stands_in_the_documentation() {
    let page = include_str!("../../docs/configuration.md");
    for path in keys::paths(&Config::default().to_table()) {
        assert!(page.contains(&format!("`{path}`")), "docs/configuration.md does not name `{path}`");
    }
}

#[test]
fn no_file_and_an_empty_file_are_the_defaults() {
    assert_eq!(parse("").expect("empty"), Config::default());
    assert_eq!(Config::load_with(None, std::iter::empty()).expect("no file"), Config::default());
}

#[test]
fn values_are_types() {
    let config = parse(
        "[signaling]\nring_time = \"90s\"\n[ops]\nlisten = \"off\"\n\
         [sfu]\nadvertise = [\"203.0.113.4\", \"198.51.100.7:9000\"]\n\
         [turn]\nallow_peers = [\"10.0.0.0/8\"]\ndeny_peers = [\"10.1.0.5-10.1.0.9\"]\nrelay_ports = \"50000-50100\"\n\
         listen_tls = \"0.0.0.0:443\"\ntls_certificate = \"c.pem\"\ntls_key = \"k.pem\"",
    )
    .expect("loads");
    assert_eq!(config.signaling.ring_time, Span::secs(90));
    assert_eq!(config.ops.listen, Bind::Off);
    let shown: Vec<_> = config.sfu.advertise.iter().map(|a| a.with_port(3480).to_string()).collect();
    assert_eq!(shown, ["203.0.113.4:3480", "198.51.100.7:9000"]);
    assert_eq!(config.turn.allow_peers, ["10.0.0.0/8".parse::<PeerRange>().unwrap()]);
    let denied = config.turn.deny_peers[0].range();
    assert!(denied.contains("10.1.0.9".parse().unwrap()) && !denied.contains("10.1.0.10".parse().unwrap()));
    assert_eq!(config.turn.listen_tcp.beside(config.turn.listen), Some(config.turn.listen));
    assert_eq!(config.turn.listen_tls, "0.0.0.0:443".parse::<Bind>().unwrap());
    assert_eq!(config.turn.relay_ports, Ports { first: 50000, last: 50100 });
}

#[test]
fn what_is_written_reads_back() {
    let mut config = Config::default();
    config.turn.external_ip = ExternalIp::Is("2001:db8::1".parse().unwrap());
    config.turn.external_ip6 = "2001:db8::3".parse().unwrap();
    config.turn.listen_tcp = "192.0.2.1:443".parse().unwrap();
    config.turn.deny_peers = vec!["2001:db8::5-2001:db8::1:7".parse().unwrap()];
    config.turn.alternates = vec!["192.0.2.7:3478".parse().unwrap()];
    config.sfu.advertise = vec!["[2001:db8::2]:70".parse().unwrap()];
    config.log.level = "warn,trunkline_sfu=debug".parse().unwrap();
    config.media.file_size = Size(1_500);
    config.media.user_size = "3 GiB".parse().unwrap();
    config.signaling.lease = Span(std::time::Duration::from_millis(90_500));
    let text = toml::to_string(&config.to_table()).unwrap();
    assert_eq!(parse(&text).expect("reads back"), config);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    for (text, nearest) in [
        ("[sfu]\nadvertize = []", "`sfu.advertise`"),
        ("[sfuu]\nshards = 1", "`sfu`"),
        ("[http]\nlisten_addr = \"x\"", "`http.listen`"),
        ("[signaling]\nrealm = \"x\"", "`turn.realm`"),
        ("[turn]\nexternal-ip = \"x\"", "`turn.external_ip`"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains("unknown key") && error.contains(nearest), "{text}: {error}");
    }
}

#[test]
fn wrong_values_name_their_key() {
    for (text, key) in [
        ("[http]\nlisten = \"localhost\"", "http.listen"),
        ("[http]\nlisten = 8480", "http.listen"),
        ("[signaling]\nring_time = \"soon\"", "signaling.ring_time"),
        ("[signaling]\nring_time = \"0s\"", "signaling.ring_time"),
        ("[signaling]\nsends_per_second = -1", "signaling.sends_per_second"),
        ("[sfu]\nadvertise = [\"0.0.0.0\"]", "sfu.advertise"),
        ("[turn]\nallow_peers = [\"10.0.0.0/33\"]", "turn.allow_peers"),
        ("[turn]\ndeny_peers = [\"10.0.0.9-10.0.0.1\"]", "turn.deny_peers"),
        ("[turn]\nlisten_tcp = \"on\"", "turn.listen_tcp"),
        ("[turn]\nlisten_tls = \"0.0.0.0:443\"", "turn.tls_certificate"),
        ("[turn]\nexternal_ip6 = \"192.0.2.1\"", "turn.external_ip6"),
        ("[turn]\nconnections = 0", "turn.connections"),
        ("[turn]\nrelay_ports = \"9-8\"", "turn.relay_ports"),
        ("[turn]\nrealm = \"\"", "turn.realm"),
        ("[turn]\nurls = [\"relay.example\"]", "turn.urls"),
        ("[turn]\nallocations = 0", "turn.allocations"),
        ("[auth]\nserver_key = \"short\"", "auth.server_key"),
        ("[signaling]\nretention = \"5s\"", "signaling.retention"),
        ("[media]\nfile_size = \"2 GB\"", "media.file_size"),
        ("[media]\nfile_size = \"99999999 TiB\"", "media.file_size"),
        ("[media]\nphoto_size = \"0\"", "media.photo_size"),
        ("[media]\nsizes = [1280, 320]", "media.sizes"),
        ("[media]\nsizes = []", "media.sizes"),
        ("[media]\nstore = \"s3\"", "media.s3_bucket"),
        ("[media]\nstore = \"tape\"", "media.store"),
        ("[media]\ngrace = \"0s\"", "media.grace"),
        ("[log]\nformat = \"yaml\"", "log.format"),
        ("[log]\nlevel = \"a=b=c\"", "log.level"),
        ("http = 3", "http"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(key), "{text}: {error}");
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let config = with_environment(
        "[http]\nlisten = \"127.0.0.1:1\"",
        &[
            ("TRUNKLINE_HTTP__LISTEN", "127.0.0.1:2"),
            ("TRUNKLINE_SIGNALING__DEMO_LOGINS", "true"),
            ("TRUNKLINE_SFU__ADVERTISE", "[\"192.0.2.1\"]"),
            ("TRUNKLINE_AUTH__JWT_KEY", "00000000000000000000000000000001"),
            ("TRUNKLINE_PORT", "tcp://10.0.0.1:80"),
            ("HOME", "/"),
        ],
    )
    .expect("loads");
    assert_eq!(config.http.listen.port(), 2);
    assert!(config.signaling.demo_logins);
    assert_eq!(config.sfu.advertise.len(), 1);
    assert_eq!(config.auth.jwt_key.expose(), "00000000000000000000000000000001");
}

#[test]
fn the_environment_is_checked_too() {
    let error = with_environment("", &[("TRUNKLINE_SFU__SHARD", "2")]).expect_err("unknown");
    assert!(error.contains("TRUNKLINE_SFU__SHARD") && error.contains("`sfu.shards`"), "{error}");
    let error = with_environment("", &[("TRUNKLINE_SFU__SHARDS", "two")]).expect_err("not a number");
    assert!(error.contains("TRUNKLINE_SFU__SHARDS"), "{error}");
    with_environment("", &[("TRUNKLINE_SFU__SHARDS", "2\nlisten = 3")]).expect_err("smuggled key");
}

#[test]
fn secrets_are_never_shown() {
    let planted = "planted-secret-planted-secret-planted";
    let text = format!(
        "[auth]\njwt_key = \"{planted}\"\n[turn]\nsecrets = [\"{planted}\"]\n\
         [media]\nsecret = \"{planted}\"\ns3_secret_key = \"{planted}\""
    );
    let config = parse(&text).expect("loads");
    assert_eq!(config.auth.jwt_key.expose(), planted);
    let shown = format!("{config:?} {}", toml::to_string(&config.to_table()).unwrap());
    assert!(!shown.contains(planted), "{shown}");
    assert!(shown.contains("[redacted]"));
    let short = parse("[auth]\njwt_key = \"planted\"").expect_err("too short");
    assert!(!short.contains("planted"), "{short}");
    let wrong_type = parse("[turn]\nsecrets = \"planted-secret\"").expect_err("not a list");
    assert!(!wrong_type.contains("planted"), "{wrong_type}");
}
