export interface ChartProps {
  readonly title: string;
  readonly unit: string;
  readonly points: readonly { readonly atMs: number; readonly value: number }[];
}

const WIDTH = 320;
const HEIGHT = 90;

/** One figure over time; its words say what its line shows. */
export function Chart({ title, unit, points }: ChartProps) {
  const values = points.map(({ value }) => value);
  const [low, high] = [Math.min(0, ...values), Math.max(...values, 1e-9)];
  const [first, last] = [points[0], points.at(-1)];
  const span = Math.max(1, (last?.atMs ?? 0) - (first?.atMs ?? 0));
  const path = points
    .map(({ atMs, value }, index) => {
      const x = points.length === 1 ? 0 : (WIDTH * (atMs - first!.atMs)) / span;
      const y = HEIGHT - 2 - ((HEIGHT - 4) * (value - low)) / (high - low);
      return `${index === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join('');
  const words = (value: number | undefined) => (value === undefined ? '–' : `${format(value)}${unit}`);
  return (
    <figure class="card chart">
      <figcaption>
        {title} <b>{words(last?.value)}</b>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: now ${words(last?.value)}, at most ${words(high)}`}
      >
        <path
          d={path.length > 0 && points.length === 1 ? `${path}H${WIDTH}` : path}
          vector-effect="non-scaling-stroke"
        />
      </svg>
      <p class="facts">
        {first ? `${new Date(first.atMs).toLocaleTimeString()} to ${new Date(last!.atMs).toLocaleTimeString()}` : ''},
        at most {words(Math.max(...values, 0))}
      </p>
    </figure>
  );
}

function format(value: number): string {
  return Math.abs(value) >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString() : value.toFixed(1);
}
