/**
 * An MJPEG camera on loopback whose picture changes by itself, so that watches find something again and again, and that
 * fails on demand as cameras do.
 */
import { execFileSync } from 'node:child_process';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import sharp from 'sharp';
import { packageRoot } from '#sdk/native/index.js';

const CLIP = join(packageRoot(), 'examples', 'clips', 'tabletop.mp4');
/** Seconds of the clip: without and with the lamp that `LAMP` asks for. */
const SCENES = [0.5, 9.5];
/** Answered differently by the demo model about the two pictures. */
export const LAMP = 'Is there a yellow lamp?';
const FRAME_MS = 100;
const HEAD = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n';

/** `garbage`: parts that are no pictures; `noise`: bytes that are no parts either. */
export type CameraMode = 'pictures' | 'small' | 'silent' | 'garbage' | 'noise' | 'refusing';

export class ScriptedCamera implements AsyncDisposable {
  mode: CameraMode = 'pictures';
  /** How long one scene is shown; Infinity: the first one for good. */
  sceneMs = 700;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #scenes: readonly Buffer[];
  readonly #small: readonly Buffer[];
  #sent = 0;

  private constructor(scenes: readonly Buffer[], small: readonly Buffer[]) {
    this.#scenes = scenes;
    this.#small = small;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async start(): Promise<ScriptedCamera> {
    const scenes = SCENES.map((second) =>
      execFileSync('ffmpeg', [
        ...['-v', 'error', '-ss', String(second), '-i', CLIP],
        ...['-frames:v', '1', '-q:v', '3', '-f', 'image2', '-c:v', 'mjpeg', '-'],
      ]),
    );
    const small = await Promise.all(scenes.map((scene) => sharp(scene).resize(320, 240).jpeg().toBuffer()));
    const camera = new ScriptedCamera(scenes, small);
    await new Promise<void>((resolve) => camera.#server.listen(0, '127.0.0.1', resolve));
    return camera;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/stream`;
  }

  /** Ends the stream for everyone who is connected; the next one is served as `mode` says. */
  end(): void {
    for (const socket of this.#sockets) socket.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket): void {
    socket.on('error', () => {});
    // Read to its end, a refused one too: what is left unread keeps a socket, and with it the server, from closing.
    socket.resume();
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    if (this.mode === 'refusing') {
      socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    socket.write(HEAD);
    const timer = setInterval(() => this.#send(socket), FRAME_MS);
    socket.on('close', () => clearInterval(timer));
  }

  #send(socket: Socket): void {
    this.#sent += 1;
    // A reader that was stopped is not sent what it will never want.
    if (socket.writableLength > 1_000_000 || this.mode === 'silent' || this.mode === 'refusing') return;
    if (this.mode === 'noise') {
      socket.write(bytes(this.#sent));
      return;
    }
    const part = this.mode === 'garbage' ? bytes(this.#sent) : this.#picture();
    socket.write(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${part.length}\r\n\r\n`);
    socket.write(part);
    socket.write('\r\n');
  }

  #picture(): Buffer {
    const pictures = this.mode === 'small' ? this.#small : this.#scenes;
    return pictures[Math.floor((this.#sent * FRAME_MS) / this.sceneMs) % pictures.length]!;
  }
}

function bytes(seed: number): Buffer {
  return Buffer.from(Array.from({ length: 8_000 }, (_, n) => (n * 2_654_435_761 + seed * 40_503) >>> 13));
}
