/** An MJPEG camera on loopback with the habits of real ones: untidy headers, one place, a page while it starts. */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import sharp from 'sharp';

const MULTIPART = 'Content-Type: multipart/x-mixed-replace;boundary=frame\r\n';

/** Heads that OpenCV reads and HTTP parsers refuse. */
export const ODD_HEADS: Readonly<Record<string, string>> = {
  'line feeds only': `HTTP/1.1 200 OK\nConnection: close\n${MULTIPART.replace('\r', '')}\n`,
  'a header without a colon': `HTTP/1.1 200 OK\r\nTue, 12 Jun 2012 01:56:34 GMT\r\nConnection: close\r\n${MULTIPART}\r\n`,
  'the status line twice': `HTTP/1.0 200 OK\r\nHTTP/1.0 200 OK\r\nConnection: close\r\n${MULTIPART}\r\n`,
  'two lengths': `HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\nTransfer-Encoding: identity\r\n${MULTIPART}\r\n`,
  'the status of a radio': `ICY 200 OK\r\n${MULTIPART}\r\n`,
};
const PLAIN = `HTTP/1.1 200 OK\r\nConnection: close\r\n${MULTIPART}\r\n`;

export interface MjpegCameraOptions {
  readonly head?: string;
  readonly tls?: { readonly key: Buffer; readonly cert: Buffer };
  /** Sides of the pictures: those of the second after so many pictures of the first. */
  readonly sizes?: readonly (readonly [number, number])[];
  readonly picturesBeforeResize?: number;
  /** Only one client at a time; the place is free so long after it has left. */
  readonly releaseMs?: number;
  /** Answers a whole request by itself; undefined: the stream. */
  readonly answer?: (request: string, count: number) => string | Buffer | undefined;
}

export class MjpegCamera implements AsyncDisposable {
  /** First lines and user agents of what was asked, in order. */
  readonly requests: string[] = [];
  readonly #options: MjpegCameraOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #pictures: Buffer[][] = [];
  #taken = 0;
  #sent = 0;

  private constructor(options: MjpegCameraOptions) {
    this.#options = options;
    const onSocket = (socket: Socket) => this.#receive(socket);
    this.#server = options.tls ? createTlsServer(options.tls, onSocket) : createServer(onSocket);
  }

  static async start(options: MjpegCameraOptions = {}): Promise<MjpegCamera> {
    const camera = new MjpegCamera(options);
    for (const [width, height] of options.sizes ?? [[160, 120]]) {
      const levels = Array.from({ length: 20 }, (_, index) => 10 * index);
      camera.#pictures.push(await Promise.all(levels.map((level) => picture(width, height, level))));
    }
    await new Promise<void>((resolve) => camera.#server.listen(0, '127.0.0.1', resolve));
    return camera;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Drops everyone who is connected. */
  dropAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dropAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #receive(socket: Socket): void {
    this.#sockets.add(socket);
    let request = '';
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (chunk) => {
      if (request.includes('\r\n\r\n')) return;
      request += chunk.toString('latin1');
      if (request.includes('\r\n\r\n')) this.#serve(socket, request);
    });
  }

  #serve(socket: Socket, request: string): void {
    this.requests.push(`${request.split('\r\n')[0]} ${/^user-agent: *(.*)$/im.exec(request)?.[1] ?? ''}`);
    const answer = this.#options.answer?.(request, this.requests.length);
    if (answer !== undefined) {
      socket.end(answer);
      return;
    }
    const { releaseMs, head = PLAIN } = this.#options;
    if (releaseMs !== undefined) {
      if (this.#taken > 0) {
        socket.end('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n');
        return;
      }
      this.#taken++;
      socket.on('close', () => setTimeout(() => this.#taken--, releaseMs));
    }
    socket.write(head);
    const timer = setInterval(() => {
      const resized =
        this.#options.picturesBeforeResize !== undefined && this.#sent >= this.#options.picturesBeforeResize;
      const list = this.#pictures[resized ? 1 : 0]!;
      const jpeg = list[this.#sent++ % list.length]!;
      socket.write(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`);
      socket.write(jpeg);
      socket.write('\r\n');
    }, 40);
    socket.on('close', () => clearInterval(timer));
  }
}

export function picture(width: number, height: number, level: number): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background: { r: level, g: level, b: level } } })
    .jpeg()
    .toBuffer();
}

export function httpAnswer(type: string, body: string | Buffer, status = '200 OK', headers = ''): Buffer {
  const head = `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)]);
}
