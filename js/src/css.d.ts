declare module "*.css" {
  /** Minified text of the style sheet. */
  const text: string;
  export default text;
}
