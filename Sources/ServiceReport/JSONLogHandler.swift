import FoundationEssentials
import Glibc
public import Logging

/// Writes each record to standard error as one line, an object of texts: `time`, `level`, `logger`, `message`, and the
/// metadata.
public struct JSONLogHandler: LogHandler {
    /// Bytes of one text. journald breaks lines at 48 KiB (`LineMax=` of journald.conf(5)), and what follows the break is no
    /// JSON.
    static let longestText = 4096

    /// Records below it are not written.
    public var logLevel: Logger.Level
    /// Goes with every record.
    public var metadata: Logger.Metadata = [:]
    private let label: String

    /// A handler for the logger of that label.
    public init(label: String, logLevel: Logger.Level) {
        self.label = label
        self.logLevel = logLevel
    }

    /// One member of `metadata`.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes a record.
    public func log(event: LogEvent) {
        LogDestination.standardError.write(line(of: event, at: Self.now()), at: event.level)
    }

    /// The record without the line's end.
    func line(of event: LogEvent, at time: timespec) -> String {
        var texts: [String: String] = [:]
        if let error = event.error { texts["error"] = Self.bounded("\(error)") }
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }) {
            texts[key] = Self.bounded("\(value)")
        }
        texts["time"] = Self.text(of: time)
        texts["level"] = event.level.rawValue
        texts["logger"] = label
        texts["message"] = Self.bounded(event.message.description)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // `try?`: texts always encode.
        return (try? encoder.encode(texts)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    private static func bounded(_ text: String) -> String {
        guard text.utf8.count > longestText else { return text }
        return String(decoding: text.utf8.prefix(longestText), as: UTF8.self) + "…"
    }

    private static func now() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    /// RFC 3339, UTC, with milliseconds.
    static func text(of time: timespec) -> String {
        var seconds = time.tv_sec
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%S", &parts)
        let whole = String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
        // Always three digits.
        let milliseconds = String(1000 + time.tv_nsec / 1_000_000).dropFirst()
        return "\(whole).\(milliseconds)Z"
    }
}
