//! Which simulcast layer a subscriber gets: for now by the size it shows. A pure function.

/// What is known of one layer of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerInfo {
    /// Packets came lately (`shard::forward::LAYER_SILENCE`).
    pub active: bool,
    /// Pixels (width × height) of its last keyframe, where it could be read; 0 if unknown.
    pub pixels: u32,
}

/// How large a subscriber shows a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Never said: the best there is.
    Unknown,
    /// Not on the screen: nothing is forwarded.
    Hidden,
    /// In device pixels.
    Pixels {
        /// Across.
        width: u32,
        /// Down.
        height: u32,
    },
}

/// The wanted layer's index, lowest first; `None` where nothing should be forwarded.
///
/// The smallest active layer that has at least two thirds of the shown pixels: a little scaling up is not seen,
/// the next layer up costs three to four times as much.
pub(crate) fn select(layers: &[LayerInfo], view: View) -> Option<usize> {
    let best = layers.iter().rposition(|l| l.active);
    match view {
        View::Hidden => None,
        View::Unknown => best.or(Some(layers.len().checked_sub(1)?)),
        View::Pixels { width, height } => {
            let shown = u64::from(width) * u64::from(height);
            if shown == 0 {
                return None;
            }
            layers
                .iter()
                .position(|l| l.active && l.pixels > 0 && u64::from(l.pixels) * 3 >= shown * 2)
                .or(best)
                .or(Some(layers.len().checked_sub(1)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let on = |pixels| LayerInfo { active: true, pixels };
        let off = LayerInfo::default();
        let three = [on(320 * 180), on(640 * 360), on(1280 * 720)];
        let px = |width, height| View::Pixels { width, height };
        let cases: [(&[LayerInfo], View, Option<usize>); 11] = [
            (&three, View::Unknown, Some(2)),
            (&three, View::Hidden, None),
            (&three, px(0, 0), None),
            (&three, px(160, 90), Some(0)),
            (&three, px(330, 186), Some(0)),
            (&three, px(480, 270), Some(1)),
            (&three, px(1920, 1080), Some(2)),
            (&[on(320 * 180), off, off], px(1920, 1080), Some(0)),
            (&[off, off, off], px(100, 100), Some(2)),
            (&[on(0)], px(100, 100), Some(0)),
            (&[], View::Unknown, None),
        ];
        for (layers, view, want) in cases {
            assert_eq!(select(layers, view), want, "{layers:?} {view:?}");
        }
    }
}
