import Glibc
import Testing

@testable import EdgeAgent

@Suite struct StopSequenceTests {
    @Test("A sequence is read from text; KILL may stand at its end and follows anyway")
    func parses() throws {
        let sequence = try StopSequence(parsing: "INT 5s, SIGTERM 1500ms, KILL")
        #expect(sequence.steps == [.init(SIGINT, .seconds(5)), .init(SIGTERM, .milliseconds(1500))])
        #expect(sequence.total == .milliseconds(6500))
        #expect(try StopSequence(parsing: "KILL").steps.isEmpty)
    }

    @Test(
        "What is no sequence is refused by name",
        arguments: ["TERM", "TERM 5", "BOOM 5s", "TERM -1s", "TERM 5s 6s", "INT 9999999s", ", TERM x"]
    )
    func refuses(_ text: String) {
        #expect(throws: RuntimeError.self) { try StopSequence(parsing: text) }
    }

    @Test("Another time until SIGKILL is spread over the same signals, the last one takes what is left")
    func spreads() {
        let sequence = StopSequence(steps: [.init(SIGINT, .seconds(2)), .init(SIGTERM, .seconds(5))])
        #expect(sequence.spread(over: .seconds(10)).steps == [.init(SIGINT, .seconds(2)), .init(SIGTERM, .seconds(8))])
        #expect(sequence.spread(over: .seconds(3)).steps == [.init(SIGINT, .seconds(2)), .init(SIGTERM, .seconds(1))])
        #expect(sequence.spread(over: .seconds(1)).steps == [.init(SIGINT, .seconds(1))])
    }

    @Test("What the agent writes the supervisor reads")
    func encodes() {
        let sequence = StopSequence(steps: [.init(SIGINT, .seconds(2)), .init(SIGTERM, .seconds(5))])
        #expect(StopSequence(encoded: sequence.encoded) == sequence)
        #expect(StopSequence(encoded: "15:x") == nil)
    }
}
