/** Style sheets that a page brings along; Vite puts them where they belong. */
declare module '*.css';
