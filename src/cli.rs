//! The command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::app::{App, Roles, Signals};
use crate::config::{BlobPlace, Config};
use crate::media;
use crate::secrets::Secrets;
use crate::telemetry;
use crate::tokens::Grant;
use crate::turn_check::{self, CheckArgs};

const EXAMPLES: &str = "\
Examples:
  trunkline serve                                   everything, for development: http://127.0.0.1:8480
  trunkline serve --config /etc/trunkline.toml --role turn
  trunkline config check --config /etc/trunkline.toml
  trunkline token --user alice --ttl 30d
  trunkline token --user camera-1 --room lobby --publish
  trunkline media copy --from disk --to s3
  trunkline turn check --config /etc/trunkline.toml turn:relay.example:3478

Every key of the file can be set from the environment: TRUNKLINE_SECTION__KEY, e.g. TRUNKLINE_HTTP__LISTEN.
docs/trunkline.example.toml has them all, with units and effects.";

/// The calling and media half of a messenger, as one service.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server.
    #[command(after_help = "SIGTERM or Ctrl-C stops it gracefully; a second one at once.")]
    Serve {
        #[command(flatten)]
        file: File,
        /// What this process does, separated by commas.
        #[arg(
            long,
            value_delimiter = ',',
            value_name = "ROLE",
            default_value = "signaling,sfu,turn,media-store"
        )]
        role: Vec<Role>,
    },
    /// Look at the configuration without starting anything.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a token signed with this configuration's key.
    #[command(after_help = "\
Examples:
  trunkline token --user alice                                 for the page and the WebSocket
  trunkline token --user alice --device laptop --ttl 12h
  trunkline token --user camera-1 --room lobby --publish       for WHIP
  trunkline token --user viewer-7 --room lobby --subscribe     for WHEP")]
    Token(TokenArgs),
    /// Look after stored photos and files.
    Media {
        #[command(subcommand)]
        command: MediaCommand,
    },
    /// Look at TURN servers, this one's or others.
    Turn {
        #[command(subcommand)]
        command: TurnCommand,
    },
    /// Decodes one photo or voice note, in a process that limits itself. Started by the server; not for people.
    #[command(hide = true)]
    MediaWorker,
}

#[derive(Debug, Subcommand)]
enum MediaCommand {
    /// Copy everything that is stored from one place to another, verified.
    #[command(after_help = "\
Both places are those of the configuration: disk is data.dir/media/blobs, s3 is the bucket of [media] s3_….
It may be stopped and run again: what was verified is not copied again. Run it while the server still serves from the
old place, then once more after stopping the server, and start it again with media.store set to the new place.

Example: trunkline media copy --config /etc/trunkline.toml --from disk --to s3")]
    Copy {
        #[command(flatten)]
        file: File,
        /// Where it is now.
        #[arg(long)]
        from: BlobPlace,
        /// Where it goes.
        #[arg(long)]
        to: BlobPlace,
    },
}

#[derive(Debug, Subcommand)]
enum TurnCommand {
    /// Say what of a TURN server works from here, one line a check, with advice where something does not.
    #[command(after_help = turn_check::HELP)]
    Check(Box<CheckArgs>),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read it as `serve` would, and say what is wrong with it.
    Check {
        #[command(flatten)]
        file: File,
        /// Print every key with the value in force, secrets redacted.
        #[arg(long)]
        show: bool,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The TOML file; without it the defaults, overridden by the environment.
    #[arg(long = "config", value_name = "FILE", env = "TRUNKLINE_CONFIG")]
    path: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct TokenArgs {
    #[command(flatten)]
    file: File,
    /// Whom the token is for.
    #[arg(long)]
    user: String,
    /// The one device that it is for; without it the device names itself.
    #[arg(long)]
    device: Option<String>,
    /// How long it is good for.
    #[arg(long, default_value = "1d", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// The WHIP or WHEP room that it is for.
    #[arg(long)]
    room: Option<String>,
    /// May publish into the room (WHIP).
    #[arg(long, requires = "room")]
    publish: bool,
    /// May watch the room (WHEP).
    #[arg(long, requires = "room")]
    subscribe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// The API, the WebSocket, conversations, calls, and the page.
    Signaling,
    /// Media.
    Sfu,
    /// Relaying for networks that allow nothing else.
    Turn,
    /// Photos, voice notes, files.
    MediaStore,
}

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::MediaWorker = cli.command {
        return trunkline_media_pipeline::worker::run();
    }
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("trunkline: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        // The one command whose answer may be no.
        Command::Turn { command: TurnCommand::Check(args) } => return check_turn(*args),
        Command::Serve { file, role } => {
            let config = Config::load(file.path.as_deref())?;
            let roles = roles(&role)?;
            telemetry::start_logging(&config.log);
            serve(config, roles, file.path.as_deref())?;
        }
        Command::Config { command: ConfigCommand::Check { file, show } } => check(&file, show)?,
        Command::Media { command: MediaCommand::Copy { file, from, to } } => {
            let config = Config::load(file.path.as_deref())?;
            telemetry::start_logging(&config.log);
            media::copy(&config, from, to)?;
        }
        Command::MediaWorker => unreachable!("taken before anything else"),
        Command::Token(args) => {
            let config = Config::load(args.file.path.as_deref())?;
            let secrets = Secrets::resolve(&config)?;
            let TokenArgs { user: sub, device, room, publish, subscribe, ttl, .. } = args;
            let grant = Grant { sub, device, room, publish, subscribe };
            print(&grant.sign(&secrets.jwt_key, ttl, SystemTime::now())?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes the secret from a configuration, if one is named, and checks.
fn check_turn(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let secrets = match args.config() {
        Some(file) => Secrets::resolve(&Config::load(Some(file))?)?.turn,
        None => vec![],
    };
    // The first one mints.
    args.run(secrets.first().map(crate::config::Secret::expose))
}

fn serve(config: Config, roles: Roles, file: Option<&Path>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let signals = Signals::listen()?;
        App::start(config, roles).await?.run(signals, file).await;
        Ok(())
    });
    // Whatever still blocks (a name look-up, a stuck disk) must not keep a stopped server alive.
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

fn check(file: &File, show: bool) -> anyhow::Result<()> {
    let config = Config::load(file.path.as_deref())?;
    if show {
        print(toml::to_string(&config.to_table())?.trim_end())?;
    }
    match &file.path {
        Some(path) => eprintln!("{}: correct", path.display()),
        None => eprintln!("defaults and environment: correct"),
    }
    Ok(())
}

fn roles(asked: &[Role]) -> anyhow::Result<Roles> {
    let has = |role| asked.contains(&role);
    let roles = Roles {
        signaling: has(Role::Signaling),
        sfu: has(Role::Sfu),
        turn: has(Role::Turn),
        media_store: has(Role::MediaStore),
    };
    for (name, asked) in [("sfu", roles.sfu), ("media-store", roles.media_store)] {
        anyhow::ensure!(
            roles.signaling || !asked,
            "the role {name} needs the role signaling in the same process: nothing else can control it in this version"
        );
    }
    Ok(roles)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"trunkline").chain(arguments))
    }

    fn roles_of(list: &str) -> anyhow::Result<Roles> {
        match parse(&["serve", "--role", list])?.command {
            Command::Serve { role, .. } => roles(&role),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn roles_are_a_list_and_all_by_default() {
        let Command::Serve { role, .. } = parse(&["serve"]).unwrap().command else { panic!("serve") };
        let all = Roles { signaling: true, sfu: true, turn: true, media_store: true };
        assert_eq!(roles(&role).unwrap(), all);
        let turn = Roles { signaling: false, sfu: false, turn: true, media_store: false };
        assert_eq!(roles_of("turn").unwrap(), turn);
    }

    #[test]
    fn roles_that_cannot_be_are_refused_with_the_reason() {
        for alone in ["sfu", "media-store", "turn,media-store"] {
            let error = roles_of(alone).unwrap_err().to_string();
            assert!(error.contains("needs the role signaling"), "{error}");
        }
        roles_of("signalling").unwrap_err();
    }

    #[test]
    fn turn_check_takes_one_kind_of_credential() {
        let check = |arguments: &str| {
            parse(&["turn", "check"].into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>())
        };
        check("turn:relay.example turns:relay.example:443").unwrap();
        check("--secret-file a turn:relay.example").unwrap();
        for wrong in [
            "",
            "relay.example",
            "--username a turn:relay.example",
            "--secret a --username a --password b turn:relay.example",
            "--secret-file a --config b turn:relay.example",
        ] {
            check(wrong).unwrap_err();
        }
    }

    #[test]
    fn media_grants_need_a_room() {
        parse(&["token", "--user", "a", "--publish"]).unwrap_err();
        parse(&["token", "--user", "a", "--room", "r", "--publish", "--ttl", "90m"]).unwrap();
    }
}
