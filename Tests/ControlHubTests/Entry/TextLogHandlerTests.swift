import Foundation
import Logging
import Testing

@testable import ControlHub

@Suite("The log as text")
struct TextLogHandlerTests {
    @Test("is one line a record, without what would steer a terminal")
    func line() {
        var handler = TextLogHandler(logLevel: .info)
        handler.metadata = ["node_id": "n1", "reason": "its own"]
        let event = LogEvent(
            level: .warning,
            message: "first\nsecond",
            metadata: ["reason": "\u{1B}[2Jgone\r\nfor good"],
            source: nil,
            file: #fileID,
            function: #function,
            line: #line
        )
        let text = handler.line(of: event, at: TestHub.start)
        #expect(text == "2026-01-01T00:00:00.000Z WARNING first second node_id=n1 reason=\"[2Jgone for good\"")
    }

    @Test("has values that look like no other field")
    func quotes() {
        let handler = TextLogHandler(logLevel: .info)
        let event = LogEvent(
            level: .info,
            message: "node connected",
            metadata: ["agent": #"1" node_id="other\"#, "node_id": "n1", "empty": "", "accent": "\"\u{301} x"],
            source: nil,
            file: #fileID,
            function: #function,
            line: #line
        )
        let text = handler.line(of: event, at: TestHub.start)
        #expect(text.hasSuffix(#" accent="\"\#u{301} x" agent="1\" node_id=\"other\\" empty= node_id=n1"#))
    }
}
