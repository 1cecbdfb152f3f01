/**
 * A small RTSP camera on loopback (RFC 2326, interleaved TCP only): ffmpeg makes and packs a test picture as RTP, this
 * hands it to whoever plays.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

export interface RtspServerOptions {
  readonly codec: 'h264' | 'jpeg';
  /** `user:password` for Basic authentication. */
  readonly credentials?: string;
  /** As a source that is started by the first who asks for it. */
  readonly describeDelayMs?: number;
}

const ENCODERS = {
  h264: ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-g', '10', '-bsf:v', 'dump_extra'],
  jpeg: ['-c:v', 'mjpeg', '-huffman', 'default', '-pix_fmt', 'yuvj420p', '-q:v', '4'],
} as const;
const SDP_MEDIA = {
  h264: 'm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n',
  jpeg: 'm=video 0 RTP/AVP 26\r\n',
} as const;

export class RtspServer implements AsyncDisposable {
  /** Of every DESCRIBE, in order. */
  readonly userAgents: string[] = [];
  readonly #options: RtspServerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #encoders = new Set<ChildProcess>();

  constructor(options: RtspServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  listen(port = 0): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, '127.0.0.1', resolve);
    });
  }

  /** As when the camera loses its power. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    for (const encoder of this.#encoders) encoder.kill('SIGKILL');
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    let stopPlaying = () => {};
    let pending = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#sockets.delete(socket);
      stopPlaying();
    });
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      for (;;) {
        if (pending[0] === 0x24) {
          if (pending.length < 4 || pending.length < 4 + pending.readUInt16BE(2)) return;
          pending = pending.subarray(4 + pending.readUInt16BE(2)); // the player's RTCP reports
          continue;
        }
        const end = pending.indexOf('\r\n\r\n');
        if (end < 0) return;
        const request = pending.subarray(0, end).toString('latin1');
        pending = pending.subarray(end + 4);
        const playing = this.#answer(socket, request);
        if (playing) stopPlaying = this.#play(socket);
      }
    });
  }

  /** Returns whether playing begins. */
  #answer(socket: Socket, request: string): boolean {
    const [method, url = ''] = request.split(' ', 2);
    const cseq = /^CSeq: *(\d+)/im.exec(request)?.[1] ?? '0';
    const respond = (status: string, headers: string[] = [], body = '') =>
      socket.write([`RTSP/1.0 ${status}`, `CSeq: ${cseq}`, ...headers, '', body].join('\r\n'));
    const { credentials, codec } = this.#options;
    if (method === 'OPTIONS') {
      respond('200 OK', ['Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER']);
      return false;
    }
    const given = /^Authorization: *Basic (\S+)/im.exec(request)?.[1];
    if (credentials !== undefined && given !== Buffer.from(credentials).toString('base64')) {
      respond('401 Unauthorized', ['WWW-Authenticate: Basic realm="camera"']);
      return false;
    }
    switch (method) {
      case 'DESCRIBE': {
        this.userAgents.push(/^User-Agent: *(.*)$/im.exec(request)?.[1] ?? '');
        if (!new URL(url).pathname.startsWith('/main')) {
          respond('404 Not Found');
          return false;
        }
        const sdp = `v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n${SDP_MEDIA[codec]}a=control:track0\r\n`;
        const answer = () =>
          respond(
            '200 OK',
            [`Content-Base: ${url}/`, 'Content-Type: application/sdp', `Content-Length: ${sdp.length}`],
            sdp,
          );
        setTimeout(answer, this.#options.describeDelayMs ?? 0);
        return false;
      }
      case 'SETUP':
        if (/RTP\/AVP\/TCP/.test(request)) {
          respond('200 OK', ['Transport: RTP/AVP/TCP;unicast;interleaved=0-1', 'Session: 1']);
        } else {
          respond('461 Unsupported Transport');
        }
        return false;
      case 'PLAY':
        respond('200 OK', ['Session: 1', 'Range: npt=0-']);
        return true;
      default:
        respond('200 OK', ['Session: 1']);
        return false;
    }
  }

  #play(socket: Socket): () => void {
    const packets = createSocket('udp4');
    packets.on('message', (packet) => {
      // RTCP of the encoder comes to the next port; what arrives here is RTP.
      if (socket.destroyed || socket.writableLength > 1_000_000) return;
      socket.write(Buffer.concat([Buffer.from([0x24, 0, packet.length >> 8, packet.length & 255]), packet]));
    });
    packets.bind(0, '127.0.0.1', () => {
      const encoder = spawn(
        'ffmpeg',
        [
          ...['-v', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=s=320x240:r=10'],
          ...ENCODERS[this.#options.codec],
          ...['-f', 'rtp', `rtp://127.0.0.1:${packets.address().port}?pkt_size=1200`],
        ],
        { stdio: 'ignore' },
      );
      this.#encoders.add(encoder);
      encoder.once('exit', () => this.#encoders.delete(encoder));
      if (socket.destroyed) encoder.kill('SIGKILL');
      socket.once('close', () => encoder.kill('SIGKILL'));
    });
    return () => packets.close();
  }
}
