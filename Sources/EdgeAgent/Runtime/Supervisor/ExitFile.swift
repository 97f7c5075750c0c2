import Glibc

/// How the launch ended, in a file of a fixed size beside the log: `exit.json`.
///
/// The log is the record, but a full disk can keep the last words out of it. The blocks of this file are written when
/// the launch begins, so at the end they only change content, which most file systems do without new space.
enum ExitFile {
    static let name = "exit.json"
    /// Holds the longest event: 4 KiB of stderr, each byte written as `\u00xx` at worst.
    static let bytes = 32 << 10

    /// Makes room for a launch that begins, and forgets the one before.
    static func reserve() {
        let descriptor = RegularFile.open(name, O_WRONLY | O_CREAT)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        write(descriptor, [])
    }

    /// Writes the event down and waits until it is on the disk.
    static func write(_ event: SupervisorEvent) {
        // Not created here: without room kept for it there is none now either.
        let descriptor = RegularFile.open(name, O_WRONLY)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        write(descriptor, event.line)
        fsync(descriptor)
    }

    /// The event that ended this launch; nil where none was written.
    static func read(_ path: String, launchID: String) -> SupervisorEvent? {
        guard let content = try? Files.read(path), let end = content.firstIndex(of: UInt8(ascii: "\n")) else {
            return nil
        }
        guard let event = SupervisorEvent(Array(content[..<end])), event.launchID == launchID else { return nil }
        return event
    }

    private static func write(_ descriptor: Int32, _ line: [UInt8]) {
        guard line.count < bytes else { return }
        var content = line
        content.append(UInt8(ascii: "\n"))
        content += [UInt8](repeating: UInt8(ascii: " "), count: bytes - content.count)
        var written = 0
        while written < content.count {
            let count = content.withUnsafeBytes {
                pwrite(descriptor, $0.baseAddress.map { $0 + written }, $0.count - written, off_t(clamping: written))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            written += count
        }
    }
}
