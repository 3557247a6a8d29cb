// Runs in the page before anything else: sees every peer connection that the page makes, whatever the SDK is, and
// measures what arrives. Plain browser JavaScript; `window.probe` is what the tests ask.
(() => {
  const peers = [];
  const count = { offers: 0, remoteDescriptions: 0 };
  const Native = window.RTCPeerConnection;

  window.RTCPeerConnection = class extends Native {
    constructor(config) {
      super(config);
      peers.push(this);
    }

    async setLocalDescription(description) {
      await super.setLocalDescription(description);
      if (this.localDescription?.type === 'offer') count.offers += 1;
    }

    async setRemoteDescription(description) {
      await super.setRemoteDescription(description);
      count.remoteDescriptions += 1;
    }
  };

  const live = () => peers.filter((peer) => peer.connectionState !== 'closed');

  async function inbound() {
    const found = new Map();
    for (const [index, peer] of live().entries()) {
      for (const report of (await peer.getStats()).values()) {
        if (report.type === 'inbound-rtp') found.set(`${index}/${report.id}`, report);
      }
    }
    return found;
  }

  async function selectedPair() {
    for (const peer of live()) {
      const stats = await peer.getStats();
      for (const report of stats.values()) {
        if (report.type !== 'transport' || !report.selectedCandidatePairId) continue;
        const pair = stats.get(report.selectedCandidatePairId);
        const local = stats.get(pair.localCandidateId);
        const remote = stats.get(pair.remoteCandidateId);
        return {
          local: local.candidateType, relayProtocol: local.relayProtocol, remote: remote.candidateType,
          srtpCipher: report.srtpCipher, rtt: pair.currentRoundTripTime,
        };
      }
    }
    return null;
  }

  /** Watches for `ms`: per inbound stream what came in that time, and the longest time without a new frame. */
  async function watch(ms) {
    const before = await inbound();
    const seen = new Map([...before].map(([id, report]) => [id, { frames: report.framesDecoded, at: performance.now(), gap: 0 }]));
    const begun = performance.now();
    let now = before;
    while (performance.now() - begun < ms) {
      await new Promise((resolve) => setTimeout(resolve, 40));
      now = await inbound();
      const at = performance.now();
      for (const [id, report] of now) {
        const last = seen.get(id) ?? { frames: 0, at, gap: 0 };
        last.gap = Math.max(last.gap, at - last.at);
        if (report.framesDecoded !== last.frames) {
          last.frames = report.framesDecoded;
          last.at = at;
        }
        seen.set(id, last);
      }
    }
    const streams = [...now].map(([id, report]) => {
      const first = before.get(id) ?? {};
      const grown = (field) => (report[field] ?? 0) - (first[field] ?? 0);
      return {
        mid: report.mid, kind: report.kind, packets: grown('packetsReceived'), lost: grown('packetsLost'),
        frames: grown('framesDecoded'), keyFrames: grown('keyFramesDecoded'), longestGapMs: Math.round(seen.get(id).gap),
        freezes: grown('freezeCount'), freezeSeconds: grown('totalFreezesDuration'),
        width: report.frameWidth, height: report.frameHeight, codecId: report.codecId,
        energy: grown('totalAudioEnergy'), samples: grown('totalSamplesReceived'),
        concealed: grown('concealedSamples') - grown('silentConcealedSamples'), silentConcealed: grown('silentConcealedSamples'),
        nacks: grown('nackCount'), plis: grown('pliCount'), retransmitted: grown('retransmittedPacketsReceived'),
      };
    });
    return { video: streams.filter((s) => s.kind === 'video'), audio: streams.filter((s) => s.kind === 'audio') };
  }

  window.probe = { peers, count, inbound, selectedPair, watch, live };
})();
