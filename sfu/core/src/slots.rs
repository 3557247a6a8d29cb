//! Which participant fills which slot: a pure function. Whoever has a place keeps it; the first free place
//! goes to whoever waits longest.

/// What a candidate for a slot sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate<Id> {
    pub id: Id,
    pub audio: bool,
    pub video: bool,
}

/// What a slot can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub audio: bool,
    pub video: bool,
}

/// `current` holds each slot's occupant; `candidates` come in the order they joined. Returns the new occupants.
///
/// Full slots are given out before audio-only ones, so that people are seen as long as there is room; when an
/// occupant of a full slot leaves, the first of the audio-only ones moves up.
pub(crate) fn assign<Id: Copy + PartialEq>(
    shapes: &[Shape],
    current: &[Option<Id>],
    candidates: &[Candidate<Id>],
) -> Vec<Option<Id>> {
    let present = |id: Id| candidates.iter().any(|c| c.id == id);
    let mut next: Vec<Option<Id>> =
        (0..shapes.len()).map(|i| current.get(i).copied().flatten().filter(|&id| present(id))).collect();
    for candidate in candidates {
        let placed = next.iter().position(|o| *o == Some(candidate.id));
        let seen = placed.is_some_and(|i| shapes[i].video || !candidate.video);
        if seen {
            continue;
        }
        let full = |i: &usize| {
            next[*i].is_none() && (shapes[*i].video || !candidate.video) && usable(shapes[*i], candidate)
        };
        let better = (0..shapes.len()).find(full);
        if let Some(to) = better {
            if let Some(from) = placed {
                next[from] = None;
            }
            next[to] = Some(candidate.id);
        } else if placed.is_none()
            && let Some(to) = (0..shapes.len()).find(|&i| next[i].is_none() && usable(shapes[i], candidate))
        {
            next[to] = Some(candidate.id);
        }
    }
    next
}

fn usable<Id>(shape: Shape, candidate: &Candidate<Id>) -> bool {
    (shape.audio && candidate.audio) || (shape.video && candidate.video)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Shape = Shape { audio: true, video: true };
    const AUDIO: Shape = Shape { audio: true, video: false };

    fn person(id: u32) -> Candidate<u32> {
        Candidate { id, audio: true, video: true }
    }

    #[test]
    fn table() {
        let people: Vec<_> = (1..=4).map(person).collect();
        let voice = Candidate { id: 9, audio: true, video: false };
        type Case<'a> = (&'a [Shape], &'a [Option<u32>], &'a [Candidate<u32>], &'a [Option<u32>]);
        let cases: [Case<'_>; 7] = [
            (&[FULL, FULL], &[], &people[..1], &[Some(1), None]),
            (&[FULL, FULL], &[Some(1), None], &people[..2], &[Some(1), Some(2)]),
            (&[FULL, FULL], &[Some(1), Some(2)], &people[1..3], &[Some(3), Some(2)]),
            (&[FULL, AUDIO], &[], &people[..3], &[Some(1), Some(2)]),
            (&[FULL, AUDIO], &[Some(1), Some(2)], &people[1..3], &[Some(2), Some(3)]),
            (&[FULL, AUDIO], &[], &[voice], &[Some(9), None]),
            (&[], &[], &people, &[]),
        ];
        for (shapes, current, candidates, want) in cases {
            assert_eq!(assign(shapes, current, candidates), want, "{shapes:?} {current:?} {candidates:?}");
        }
    }

    #[test]
    fn assigning_again_changes_nothing() {
        let people: Vec<_> = (1..=5).map(person).collect();
        let shapes = [FULL, FULL, AUDIO];
        let once = assign(&shapes, &[], &people);
        assert_eq!(assign(&shapes, &once, &people), once);
    }
}
