// JsSIP in a browser: registers, is refused with WebRTC's own offer, calls and is called with plain
// descriptions, tells each step to the server of the page.

const settings = new URLSearchParams(location.search);
const tell = text => fetch('/told', { method: 'POST', body: text });

/** What JsSIP asks of a peer connection, for RTP without DTLS: nobody listens. */
class PlainConnection extends EventTarget {
  signalingState = 'stable';
  iceGatheringState = 'complete';
  iceConnectionState = 'connected';
  connectionState = 'connected';
  localDescription = null;
  remoteDescription = null;

  async createOffer() {
    return { type: 'offer', sdp: PlainConnection.description };
  }

  async createAnswer() {
    return { type: 'answer', sdp: PlainConnection.description };
  }

  async setLocalDescription(description) {
    this.localDescription = description;
    this.signalingState = description.type === 'offer' ? 'have-local-offer' : 'stable';
  }

  async setRemoteDescription(description) {
    this.remoteDescription = description;
    this.signalingState = description.type === 'offer' ? 'have-remote-offer' : 'stable';
  }

  addTrack() {}

  getSenders() {
    return [];
  }

  close() {
    this.signalingState = 'closed';
  }

  static description = [
    'v=0',
    'o=- 1 1 IN IP4 127.0.0.1',
    's=-',
    'c=IN IP4 127.0.0.1',
    't=0 0',
    'm=audio 9 RTP/AVP 0',
    'a=rtpmap:0 PCMU/8000',
    'a=sendrecv',
    '',
  ].join('\r\n');
}

const nothing = { audio: false, video: false };
const target = settings.get('target');

const phone = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(settings.get('socket'))],
  uri: settings.get('uri'),
  password: settings.get('password'),
  register_expires: 120,
  session_timers: false,
});

phone.on('disconnected', () => tell('disconnected'));
phone.on('registrationFailed', event => tell(`registration failed: ${event.cause}`));
phone.on('unregistered', () => tell('unregistered'));
phone.on('newRTCSession', ({ originator, session }) => {
  if (originator !== 'remote') return;
  session.on('confirmed', () => tell('was called'));
  session.on('ended', () => {
    tell('was hung up');
    phone.unregister();
  });
  session.answer({ mediaConstraints: nothing });
});

/** Calls as the browser itself would have it; without DTLS on the other side it is refused. */
function callByWebRtc() {
  phone.call(target, {
    mediaConstraints: { audio: true, video: false },
    eventHandlers: {
      confirmed: () => tell('WebRTC was taken'),
      failed: event => {
        tell(`WebRTC refused: ${event.message ? event.message.status_code : event.cause}`);
        window.RTCPeerConnection = PlainConnection;
        callPlainly();
      },
    },
  });
}

function callPlainly() {
  const session = phone.call(target, {
    mediaConstraints: nothing,
    eventHandlers: {
      progress: () => tell('rings'),
      confirmed: () => {
        tell('answered');
        setTimeout(() => session.terminate(), 300);
      },
      failed: event => tell(`call failed: ${event.cause}`),
      ended: event => {
        tell(`ended by ${event.originator}`);
        sendMessage();
      },
    },
  });
}

function sendMessage() {
  phone.sendMessage(target, 'hello', {
    eventHandlers: {
      succeeded: () => tell('message taken'),
      failed: event => tell(`message refused: ${event.response.status_code}`),
    },
  });
}

phone.once('registered', () => {
  tell('registered');
  callByWebRtc();
});
phone.start();

const frame = document.createElement('iframe');
frame.src = settings.get('stranger');
addEventListener('load', () => document.body.append(frame));
