import Logging
import Testing

@testable import ServiceReport

@Suite("Where standard error leads")
struct LogDestinationTests {
    private func destination(_ journalStream: String?, isTerminal: Bool = false) -> LogDestination {
        LogDestination(isTerminal: isTerminal, journalStream: journalStream, device: 8, inode: 4_294_967_297)
    }

    @Test("it is the journal where JOURNAL_STREAM names its device and inode, and nothing but these")
    func journal() {
        #expect(destination("8:4294967297") == .journal)
        for other in [nil, "", "8", "8:", ":4294967297", "9:4294967297", "8:4294967296", "8:4294967297 ", "8:1"] {
            #expect(destination(other) == .stream, "\(other ?? "none")")
        }
    }

    @Test("a terminal is a terminal, whatever JOURNAL_STREAM was inherited")
    func terminal() {
        #expect(destination(nil, isTerminal: true) == .terminal)
        #expect(destination("8:4294967297", isTerminal: true) == .terminal)
    }

    @Test("every level has its priority of syslog")
    func priorities() {
        let priorities = Logger.Level.allCases.map(LogDestination.priority)
        #expect(priorities == [7, 7, 6, 5, 4, 3, 2], "\(Logger.Level.allCases)")
    }

    @Test("a line has its priority in front in the journal only, and one end", arguments: Logger.Level.allCases)
    func lines(level: Logger.Level) {
        func text(_ destination: LogDestination) -> String {
            String(decoding: destination.bytes(of: #"{"a":"é"}"#, at: level), as: UTF8.self)
        }
        #expect(text(.journal) == "<\(LogDestination.priority(of: level))>{\"a\":\"é\"}\n")
        #expect(text(.stream) == "{\"a\":\"é\"}\n")
        #expect(text(.terminal) == "{\"a\":\"é\"}\n")
    }
}
