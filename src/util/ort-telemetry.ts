/**
 * ONNX Runtime sends telemetry from 1.29 on, and prepares it when its environment is made: it matches the process's
 * command line with a recursive regular expression (some ten thousand characters of arguments, a data URL, end the
 * process by a segmentation fault), keeps a device id under the home folder and starts a thread that uploads. A runner
 * that only `models pull` and `https:` inputs may take to the network does none of this.
 *
 * The library reads the variable from the process itself, and a worker's `process.env` is a copy of its own: this has to
 * be called in the main thread, before the first session anywhere. A value that the user has set stays.
 */
export function forbidOrtTelemetry(): void {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
}
