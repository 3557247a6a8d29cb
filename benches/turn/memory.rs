//! What an allocation costs: memory, and the CPU time to make it.

use anyhow::Result;
use trunkline_turn_client::{Client, Link};

use crate::load::client_ip;
use crate::servers::{Kind, Server};

/// Made before anything is measured, so that what a server makes once is not charged to the first thousand.
const WARM: usize = 64;
const CHANNEL: u16 = 0x4000;

/// One server's figures of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) bytes: f64,
    pub(crate) cpu_us: f64,
}

/// The figures of all rounds.
pub(crate) struct Allocations {
    pub(crate) count: usize,
    pub(crate) ours: Vec<Cost>,
    pub(crate) theirs: Vec<Cost>,
}

impl Allocations {
    /// A fresh process for each round of each server.
    pub(crate) fn compare(count: usize, rounds: usize) -> Result<Self> {
        let mut compared = Self { count, ours: vec![], theirs: vec![] };
        for _ in 0..rounds {
            for kind in Kind::ALL {
                let cost = measure(kind, count)?;
                match kind {
                    Kind::Ours => compared.ours.push(cost),
                    Kind::Coturn => compared.theirs.push(cost),
                }
            }
        }
        Ok(compared)
    }
}

/// `count` allocations, each with one channel, which is one permission too.
fn measure(kind: Kind, count: usize) -> Result<Cost> {
    let server = Server::start(kind)?;
    let mut warm = allocate(&server, 0..WARM)?;
    bind(&mut warm)?;
    let (bytes, cpu) = (server.pss_bytes()?, server.cpu_ns()?);
    let mut clients = allocate(&server, WARM..WARM + count)?;
    let made = server.cpu_ns()?;
    bind(&mut clients)?;
    Ok(Cost {
        bytes: (server.pss_bytes()?.saturating_sub(bytes)) as f64 / count as f64,
        cpu_us: (made - cpu) as f64 / 1e3 / count as f64,
    })
}

/// Both requests of each: the one that is answered 401, and the one that succeeds.
fn allocate(server: &Server, which: std::ops::Range<usize>) -> Result<Vec<Client>> {
    which
        .map(|n| {
            let link = Link::udp_from((client_ip(n), 0).into(), server.address())?;
            let mut client = Client::new(link, Some(Server::credentials(n)));
            client.allocate(None)?.accepted()?;
            Ok(client)
        })
        .collect()
}

fn bind(clients: &mut [Client]) -> Result<()> {
    for client in clients {
        client.bind(CHANNEL, ([127, 0, 0, 3], 9).into())?.accepted()?;
    }
    Ok(())
}
