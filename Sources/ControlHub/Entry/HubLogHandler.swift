import Foundation
import Glibc
import Logging

/// Writes log lines to standard error: readable on a terminal, JSON otherwise.
struct HubLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    let label: String
    let isJSON: Bool

    /// Sends every logger of the process here.
    static func bootstrap(level: Logger.Level, format: String?) {
        let isJSON = format.map { $0 == "json" } ?? (isatty(STDERR_FILENO) == 0)
        LoggingSystem.bootstrap { label in
            HubLogHandler(logLevel: level, label: label, isJSON: isJSON)
        }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let merged = metadata.merging(event.metadata ?? [:]) { $1 }
        let text = isJSON ? json(event, merged) : plain(event, merged)
        var bytes = Array(text.utf8)
        bytes.append(UInt8(ascii: "\n"))
        // One call a line, so that lines of several threads do not mix. A log that cannot be written is no reason to stop.
        _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }

    private func plain(_ event: LogEvent, _ metadata: Logger.Metadata) -> String {
        let fields = metadata.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        let level = event.level.rawValue.uppercased()
        return "\(Date().rfc3339) \(level) \(event.message)\(fields)"
    }

    private func json(_ event: LogEvent, _ metadata: Logger.Metadata) -> String {
        var members: [String: JSONValue] = [
            "at": .string(Date().rfc3339), "level": .string(event.level.rawValue),
            "message": .string("\(event.message)"), "logger": .string(label),
        ]
        for (key, value) in metadata { members[key] = .string("\(value)") }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // `try?`: texts always encode.
        let data = (try? encoder.encode(JSONValue.object(members))) ?? Data()
        return String(decoding: data, as: UTF8.self)
    }
}
