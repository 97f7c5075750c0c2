import TestSupport
import Testing
import WireFormat

@testable import EdgeAgent

/// Whatever a bot writes in 64 KiB: what the agent does with it grows with the bytes.
@Suite("What a bot's output costs the agent", .serialized, .timeLimit(.minutes(5)))
struct BotWorkTests {
    private func measure(_ name: String, limit: Double = 5_000, _ work: (Int) throws -> Double) async throws {
        let growth = try await WorkMeter.growth(name) { try work($0) }
        print("work bound:", growth)
        #expect(growth.isLinear, "\(growth.cost)")
        #expect(growth.perByte < limit)
    }

    @Test("A packet, full of each kind of JSON in each place", arguments: JSONBulk.allCases)
    func packets(kind: JSONBulk) async throws {
        for member in ["type", "seq", "ts", "text", "error", "what_nobody_knows"] {
            try await measure("a packet's \(member) of \(kind)") { count in
                let json = Array(#"{"type":"x","\#(member)":\#(kind.value(count - 60))}"#.utf8)
                return WorkMeter.seconds(tries: 1) { _ = PacketFields(json) }
            }
        }
        try await measure("a packet that is \(kind)") { count in
            let json = Array(kind.value(count).utf8)
            return WorkMeter.seconds(tries: 1) { _ = PacketFields(json) }
        }
    }

    @Test("One member that the agent looks at, again and again")
    func again() async throws {
        for member in [#""seq":1e99,"#, #""type":"\#(String(repeating: "x", count: 200))","#, #""chat_url":"x","#] {
            try await measure("a packet with one member again and again") { count in
                let members = String(repeating: member, count: (count - 20) / member.utf8.count)
                let json = Array(#"{\#(members)"z":0}"#.utf8)
                return WorkMeter.seconds(tries: 1) { _ = PacketFields(json) }
            }
        }
    }

    @Test(
        "Lines, in pieces of any size",
        arguments: ["a", "\n", "\r", "\r\n", "a\r", "a\n", "\r\r\n", "packet {\r", "packet "],
        [1, 7, 4096, 64 << 10]
    )
    func lines(unit: String, piece: Int) async throws {
        for limit in [64, 1 << 20] {
            try await measure("lines of \(unit.debugDescription) in pieces of \(piece), at most \(limit)") { count in
                let bytes = Array(String(repeating: unit, count: count / unit.utf8.count).utf8)
                return WorkMeter.seconds(tries: 1) {
                    var splitter = LineSplitter(maximumLineBytes: limit, wholeLinePrefix: Array("packet ".utf8))
                    let emit: (LineSplitter.Piece) -> Void = { _ in }
                    var at = 0
                    bytes.withUnsafeBytes { bytes in
                        while at < bytes.count {
                            let end = min(bytes.count, at + piece)
                            splitter.feed(UnsafeRawBufferPointer(rebasing: bytes[at..<end]), emit: emit)
                            at = end
                        }
                    }
                    splitter.end(emit: emit)
                }
            }
        }
    }
}
