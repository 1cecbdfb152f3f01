/** How far the calibration of a camera has come, for who holds the board. */
import type { CalibrationProgress, SeenPicture } from '#calibration/camera/index.js';
import type { OutputStream } from './terminal.js';

/** For so many corners in a part of the picture. */
const SHADES = ['·', '░', '▒', '▓', '█'] as const;
const CORNERS_PER_SHADE = 12;

export interface CoverageReporter {
  seen(picture: SeenPicture, progress: CalibrationProgress): void;
}

/**
 * On a terminal a map of the picture that rewrites itself, and what to do next; elsewhere a line for each picture, or of
 * a stream for each view that was taken and each change of what to do.
 */
export function createCoverageReporter(stream: OutputStream, isStream: boolean): CoverageReporter {
  return stream.isTTY && isStream ? new MapReporter(stream) : new LineReporter(stream, isStream);
}

/** Rows of the picture, left and right as the camera sees them. */
export function coverageMap({ coverage }: CalibrationProgress): string[] {
  const { rows, columns, corners } = coverage;
  const cell = (count = 0) => SHADES[Math.min(SHADES.length - 1, Math.ceil(count / CORNERS_PER_SHADE))] ?? ' ';
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => cell(corners[row * columns + column]).repeat(2)).join(''),
  );
}

class MapReporter implements CoverageReporter {
  readonly #stream: OutputStream;
  #lines = 0;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  seen(_: SeenPicture, progress: CalibrationProgress): void {
    const { views, tilted, covered } = progress.coverage;
    const lines = [
      ...coverageMap(progress).map((row) => `  │${row}│`),
      `  ${views} views, ${tilted} tilted, ${Math.round(100 * covered)} % of the picture`,
      `  ${progress.guidance}`,
    ].map((line) => line.slice(0, (this.#stream.columns || 100) - 1));
    // Cursor up, then each line over what was there (ECMA-48: CUU, EL).
    const up = this.#lines > 0 ? `\x1b[${this.#lines}A` : '';
    this.#stream.write(`${up}${lines.map((line) => `\r\x1b[2K${line}\n`).join('')}`);
    this.#lines = lines.length;
  }
}

class LineReporter implements CoverageReporter {
  readonly #stream: OutputStream;
  readonly #isStream: boolean;
  #guidance = '';

  constructor(stream: OutputStream, isStream: boolean) {
    this.#stream = stream;
    this.#isStream = isStream;
  }

  seen({ name, refusal, message }: SeenPicture, { guidance, coverage }: CalibrationProgress): void {
    if (!this.#isStream) {
      this.#stream.write(`${name} ${message}\n`);
      return;
    }
    if (refusal === undefined) this.#stream.write(`view ${coverage.views} ${message}\n`);
    if (guidance !== this.#guidance) this.#stream.write(`${guidance}\n`);
    this.#guidance = guidance;
  }
}
