import Glibc
public import Logging

/// Where standard error leads, which decides how a line is written there.
public enum LogDestination: Sendable, Equatable {
    /// Somebody looks on.
    case terminal
    /// journald, which takes a line's priority from its beginning (sd-daemon(3)).
    case journal
    /// A file or a pipe.
    case stream

    /// Where this process's standard error leads. Asked once: it stays what it was at the start.
    public static let standardError: LogDestination = {
        var status = stat()
        // Without a descriptor both numbers are 0, and no journal has these.
        _ = fstat(STDERR_FILENO, &status)
        return LogDestination(
            isTerminal: isatty(STDERR_FILENO) == 1,
            journalStream: getenv("JOURNAL_STREAM").map { String(cString: $0) },
            device: UInt64(clamping: status.st_dev),
            inode: UInt64(clamping: status.st_ino)
        )
    }()

    /// - Parameter journalStream: `JOURNAL_STREAM`, device and inode of the journal's socket (systemd.exec(5)). Whoever is
    ///   started by a service inherits it, also with a standard error of its own; hence the comparison.
    init(isTerminal: Bool, journalStream: String?, device: UInt64, inode: UInt64) {
        if isTerminal {
            self = .terminal
        } else if journalStream == "\(device):\(inode)" {
            self = .journal
        } else {
            self = .stream
        }
    }

    /// Writes one line to standard error, in one call, so that lines of several threads do not mix.
    public func write(_ line: String, at level: Logger.Level) {
        // A log that cannot be written is no reason to stop.
        _ = bytes(of: line, at: level).withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    func bytes(of line: String, at level: Logger.Level) -> [UInt8] {
        var bytes = self == .journal ? Array("<\(Self.priority(of: level))>".utf8) : []
        bytes += line.utf8
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    /// As syslog(3) counts.
    static func priority(of level: Logger.Level) -> Int {
        switch level {
        case .critical: 2
        case .error: 3
        case .warning: 4
        case .notice: 5
        case .info: 6
        case .debug, .trace: 7
        }
    }
}
