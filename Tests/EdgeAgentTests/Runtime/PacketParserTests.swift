import Testing

@testable import EdgeAgent

@Suite struct PacketParserTests {
    private func ingest(_ lines: [[UInt8]]) throws -> (record: BotRecord, packets: [Journal.NewPacket]) {
        var record = BotRecord()
        record.launch = BotRecord.Launch(launchID: "l")
        let records = try lines.map { text in
            let line = Array("2026-01-31T12:00:00.123456789Z packet F ".utf8) + text
            return try #require(LogRecord(line: line[...], offset: 0))
        }
        let packets = record.ingest(records)
        return (record, packets)
    }

    @Test("An object that is no UTF-8 is no packet: what the hub gets is JSON")
    func invalidUTF8() throws {
        let broken = Array(#"{"type":"r"#.utf8) + [0xBF] + Array(#"ady"}"#.utf8)
        #expect(PacketFields(broken) == nil)
        #expect(try ingest([broken]).packets.isEmpty)
    }

    @Test("A type and ids that are too long are cut, and the bot's problem; the packet's own text stays whole")
    func tooLong() throws {
        let (type, turn) = (String(repeating: "t", count: 900_000), String(repeating: "é", count: 200))
        let line = Array(#"{"seq":1,"type":"\#(type)","turn_id":"\#(turn)","conversation_id":"c"}"#.utf8)
        let (record, packets) = try ingest([line, Array(#"{"seq":2,"type":"note"}"#.utf8)])
        #expect(packets.map(\.type) == [String(type.prefix(125)) + "…", "note"])
        #expect(packets[0].turnID == String(turn.prefix(98)) + "…" && packets[0].conversationID == "c")
        #expect(packets[0].json == line)
        let problem = try #require(record.launch?.problems?.first)
        #expect(problem.code == .badPacket && problem.count == 1)
        #expect(problem.detail.hasPrefix("a packet has too long a `type` and `turn_id`, which was cut"))
    }

    @Test("A bot that counts to the end of all numbers does no harm")
    func greatestSequence() throws {
        let lines = [#"{"seq":18446744073709551615}"#, #"{"seq":1}"#, #"{"seq":18446744073709551615}"#]
        let (record, packets) = try ingest(lines.map { Array($0.utf8) })
        // The numbers are no numbers; the packets are packets.
        #expect(packets.map(\.botSequence) == [0, 1, 0])
        #expect(record.launch?.lastSequence == 1)
        let greatest = try ingest([#"{"seq":9007199254740992}"#, #"{"seq":1}"#].map { Array($0.utf8) })
        #expect(greatest.packets.map(\.type) == ["gap", "", ""] && greatest.record.launch?.lastSequence == 1)
    }
}
