import { z } from 'zod';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/logger.js';

const side = z.int().min(16).max(LIMITS.imageSidePixels);

/** Pause between attempts to reopen: a quarter of the time that the camera is away, within these, with ±25 % jitter. */
export const reopenSchema = z.strictObject({
  initialDelayMs: z.int().min(10).max(60_000).default(250).meta({ title: 'First pause, ms' }),
  maximumDelayMs: z.int().min(10).max(600_000).default(15_000).meta({ title: 'Longest pause, ms' }),
  /** Attempts in a row without a frame before the camera is `failed`; unlimited when left out. */
  attempts: z.int().min(1).max(1_000_000).optional().meta({ title: 'Attempts before giving up' }),
});

/** How the certificate of an https or rtsps camera is judged. The same for both, whatever part of OpenCV reads it. */
export const cameraTlsSchema = z.strictObject({
  /** `true`: it must be valid for the host and signed by a known authority. `false`: any, which protects from nobody. */
  verify: z.boolean().default(true).meta({ title: 'Verify the certificate' }),
  /** PEM file of the authority, or of the camera's own certificate. */
  caFile: z.string().min(1).optional().meta({ title: 'File with the authority, PEM' }),
  /** SHA-256 of the certificate, as browsers and openssl show it: this one and no other, whoever signed it. */
  fingerprint: z
    .string()
    .regex(/^(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/, 'Expected a SHA-256 fingerprint: 32 bytes in hexadecimal')
    .optional()
    .meta({ title: 'SHA-256 fingerprint of the certificate' }),
});

/** Everything that can be asked of a camera. The service's configuration embeds this schema. */
export const cameraOptionsSchema = z.strictObject({
  /** Prefix of frame ids. `cam0`, `cam1` … in order of opening when left out. */
  id: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, 'Expected letters, digits, _ and -, at most 64 characters')
    .optional(),
  /**
   * Size of the frames as read, after rotation. Asked of the source; what it delivers larger is scaled down to fit
   * with its proportions kept, and is never enlarged.
   */
  size: z.strictObject({ width: side, height: side }).optional().meta({ title: 'Frame size, pixels' }),
  /** Frames a second. Asked of the source; frames beyond it are skipped. For a folder: pictures a second (default 2). */
  fps: z.number().positive().max(240).optional().meta({ title: 'Frames a second' }),
  /** Degrees clockwise. */
  rotation: z.literal([0, 90, 180, 270]).default(0).meta({ title: 'Rotation, degrees clockwise' }),
  /** Start again at the end of a file or folder. The same as `?loop` in a `file:` address. */
  loop: z.boolean().optional().meta({ title: 'Loop' }),
  /** Which part of OpenCV opens it; `auto` tries what suits the source and this machine, in order. */
  backend: z.enum(['auto', 'gstreamer', 'ffmpeg', 'v4l2']).default('auto').meta({ title: 'OpenCV backend' }),
  /** RTSP over TCP (whole pictures) or UDP (less delay, losses). */
  rtspTransport: z.enum(['tcp', 'udp']).default('tcp').meta({ title: 'RTSP transport' }),
  /** RTSP jitter buffer. */
  rtspLatencyMs: z.int().min(0).max(10_000).default(200).meta({ title: 'RTSP latency, ms' }),
  /** Without a sign of life for so long the capture process counts as hung and is replaced. */
  timeoutMs: z.int().min(200).max(600_000).default(10_000).meta({ title: 'Silence before restart, ms' }),
  /** Longest wait of one `read()`; twice `timeoutMs` when left out, so that a short outage passes unnoticed. */
  readTimeoutMs: z.int().min(1).max(3_600_000).optional().meta({ title: 'Longest wait of a read, ms' }),
  /**
   * A live picture that stays the same byte for byte for so long counts as frozen: the camera is `stalled` and opened
   * again. Noise changes every real picture; 0 for a source that shows pictures without any.
   */
  frozenTimeoutMs: z.int().min(0).max(3_600_000).default(10_000).meta({ title: 'Still picture before reopening, ms' }),
  /** For https and rtsps. */
  tls: cameraTlsSchema.optional().meta({ title: 'TLS', description: 'Left out: the certificate must be valid' }),
  /** An http address of single pictures is asked for one so often; 1000 when it is left out and turns out to be one. */
  snapshotIntervalMs: z.int().min(50).max(3_600_000).optional().meta({ title: 'Pause between snapshots, ms' }),
  /** From start to first frame. Network cameras need seconds. */
  openTimeoutMs: z.int().min(200).max(600_000).default(30_000).meta({ title: 'Longest wait for the first frame, ms' }),
  /** `false`: the first loss is final. Files are never reopened after an error of their own. */
  reopen: z.union([z.boolean(), reopenSchema]).default(true).meta({ title: 'Reopen after a loss' }),
  /**
   * `true`: `openCamera` rejects when there is no first frame. `false`: it resolves at once, and a source that is not
   * there yet is tried again in the background like a lost one.
   */
  requireFirstFrame: z.boolean().default(true).meta({ title: 'Fail when the camera is missing at start' }),
  /** Frames in shared memory. Three are needed for one reader; each further reader at the same instant needs one. */
  ringSlots: z.int().min(3).max(16).default(4).meta({ title: 'Ring slots' }),
});

/** The same with every default filled in. */
export type CameraSettings = z.output<typeof cameraOptionsSchema>;
/** `reopenSchema` with every default filled in, milliseconds. */
export type ReopenSettings = z.output<typeof reopenSchema>;

/** Options of `openCamera` as a caller writes them. */
export type CameraOptions = z.input<typeof cameraOptionsSchema> & {
  /** Where the camera tells what it does; silent by default. Never given a user name or password. */
  readonly logger?: Logger | undefined;
  /** Aborts opening. Once open, dispose the camera instead. */
  readonly signal?: AbortSignal | undefined;
};
