import Foundation
import Glibc
import Logging
import Testing

@testable import ServiceReport

@Suite("A record of the log")
struct JSONLogHandlerTests {
    private struct Broken: Error, CustomStringConvertible {
        let description = "broken\r\nin two"
    }

    private func line(
        _ message: String,
        level: Logger.Level = .warning,
        _ metadata: Logger.Metadata? = nil,
        error: (any Error)? = nil,
        always: Logger.Metadata = [:]
    ) -> String {
        var handler = JSONLogHandler(label: "test", logLevel: .info)
        handler.metadata = always
        let event = LogEvent(
            level: level,
            message: "\(message)",
            error: error,
            metadata: metadata,
            source: nil,
            file: #fileID,
            function: #function,
            line: #line
        )
        return handler.line(of: event, at: timespec(tv_sec: 1_767_225_600, tv_nsec: 7_000_000))
    }

    private func texts(_ line: String) throws -> [String: String] {
        try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
    }

    @Test("is an object with time, level, logger, message and the metadata, its own before the logger's")
    func members() throws {
        let line = line("hello", ["node": "attic", "list": ["a", "b"]], always: ["node": "barn", "epoch": "3"])
        #expect(
            try texts(line) == [
                "time": "2026-01-01T00:00:00.007Z", "level": "warning", "logger": "test", "message": "hello",
                "node": "attic", "epoch": "3", "list": #"["a", "b"]"#,
            ]
        )
    }

    @Test("is one line, whatever message, metadata and error hold, and says it all")
    func oneLine() throws {
        let hostile = "first\nsecond\r\n<0>third\u{0}\u{1B}[2J\u{2028}\"end\""
        let line = line(hostile, ["a\nkey": "\(hostile)"], error: Broken())
        #expect(!line.utf8.contains { $0 < 0x20 }, "\(line)")
        let texts = try texts(line)
        #expect(texts["message"] == hostile && texts["a\nkey"] == hostile)
        #expect(texts["error"] == "broken\r\nin two")
    }

    @Test("keeps its level and message where metadata has the same names")
    func ownMembers() throws {
        let texts = try texts(line("true", level: .error, ["message": "false", "level": "trace", "logger": "other"]))
        #expect(texts["message"] == "true" && texts["level"] == "error" && texts["logger"] == "test")
    }

    @Test("is short enough for journald not to break it")
    func bounded() throws {
        let endless = String(repeating: "é\n", count: 100_000)
        let line = line(endless, ["reason": "\(endless)"])
        #expect(line.utf8.count < 48 << 10)
        let texts = try texts(line)
        #expect(texts["message"]?.hasPrefix("é\né\n") == true && texts["message"]?.hasSuffix("…") == true)
    }

    @Test("counts milliseconds with three digits")
    func time() {
        let texts = [0, 999_999, 1_000_000, 999_999_999].map {
            JSONLogHandler.text(of: timespec(tv_sec: 951_782_399, tv_nsec: $0))
        }
        #expect(
            texts == [
                "2000-02-28T23:59:59.000Z", "2000-02-28T23:59:59.000Z", "2000-02-28T23:59:59.001Z",
                "2000-02-28T23:59:59.999Z",
            ]
        )
    }
}
