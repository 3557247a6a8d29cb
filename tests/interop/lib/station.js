// Runs in the page, after probe.js: publishes by WHIP and views by WHEP with what the browser brings, and none of our
// SDK. Plain browser JavaScript; `window.station` is what the tests ask.
(() => {
  let camera;

  /** One request: the offer goes, the answer comes; there is no trickling (RFC 9725 §4.3, the server needs no candidates). */
  async function negotiate(peer, url, token) {
    await peer.setLocalDescription();
    const response = await fetch(url, {
      method: 'POST', body: peer.localDescription.sdp,
      headers: { 'content-type': 'application/sdp', authorization: `Bearer ${token}` },
    });
    if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
    await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  }

  /** `capture` are the camera's constraints, `mimeType` the only codec to offer, `encodings` its simulcast layers. */
  async function publish(url, token, { capture, mimeType, encodings }) {
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: capture });
    const peer = new RTCPeerConnection();
    peer.addTransceiver(media.getAudioTracks()[0], { direction: 'sendonly' });
    const transceiver = peer.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly', sendEncodings: encodings ?? [] });
    if (mimeType) {
      const { codecs } = RTCRtpSender.getCapabilities('video');
      transceiver.setCodecPreferences(codecs.filter((codec) => [mimeType, 'video/rtx'].includes(codec.mimeType)));
    }
    camera = transceiver.sender;
    await negotiate(peer, url, token);
  }

  async function view(url, token) {
    const peer = new RTCPeerConnection();
    for (const kind of ['audio', 'video']) {
      const element = document.body.appendChild(document.createElement(kind));
      Object.assign(element, { autoplay: true, muted: true });
      const { receiver } = peer.addTransceiver(kind, { direction: 'recvonly' });
      element.srcObject = new MediaStream([receiver.track]);
    }
    await negotiate(peer, url, token);
  }

  /** Stops or resumes one simulcast layer. */
  async function setActive(rid, active) {
    const parameters = camera.getParameters();
    parameters.encodings.find((encoding) => encoding.rid === rid).active = active;
    await camera.setParameters(parameters);
  }

  /** What this page sends or receives of pictures, per stream; the encoder's and decoder's own figures. */
  async function pictures(type) {
    const found = [];
    for (const peer of window.probe.live()) {
      const stats = await peer.getStats();
      for (const report of stats.values()) {
        if (report.type !== type || report.kind !== 'video') continue;
        found.push({
          rid: report.rid, frames: report.framesDecoded ?? report.framesEncoded, width: report.frameWidth, active: report.active,
          mimeType: stats.get(report.codecId)?.mimeType, fmtp: stats.get(report.codecId)?.sdpFmtpLine,
        });
      }
    }
    return found;
  }

  window.station = { publish, view, setActive, pictures };
})();
