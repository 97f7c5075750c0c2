import FoundationEssentials
import SwiftProtobuf
import Testing

@testable import WireFormat

@Suite("Texts and lists of messages from outside", .timeLimit(.minutes(1)))
struct WireBoundsTests {
    /// A field of node.proto that a sender can make as long as it likes.
    struct Field: Sendable, CustomStringConvertible {
        var message: String
        var name: String
        var number: Int
        var type: String
        var isRepeated: Bool

        var description: String { "\(message).\(name)" }
    }

    /// Every such field, read from the file's text, so that one that is added later is met as well.
    static func fields() throws -> [Field] {
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        let proto = try String(contentsOfFile: "/\(root)/Sources/WireFormat/Schema/node.proto", encoding: .utf8)
        var scopes: [(kind: String, name: String)] = []
        var found: [Field] = []
        var messages: Set<String> = []
        for line in proto.split(separator: "\n") {
            let code = line.split(separator: "//", maxSplits: 1, omittingEmptySubsequences: false)[0]
                .replacing("map<string, string>", with: "map")
            var words = code.split { " {;=".contains($0) }.map(String.init)
            let isRepeated = words.first == "repeated"
            if isRepeated || words.first == "optional" { words.removeFirst() }
            if code.contains("{"), words.count >= 2 {
                scopes.append((words[0], words[1]))
                if words[0] == "message" { messages.insert(words[1]) }
            } else if words.count >= 3, let number = Int(words[2]), scopes.last?.kind != "enum",
                let owner = scopes.last(where: { $0.kind == "message" })?.name
            {
                found.append(
                    Field(message: owner, name: words[1], number: number, type: words[0], isRepeated: isRepeated)
                )
            }
            if code.contains("}") { scopes.removeLast() }
        }
        return found.filter {
            $0.isRepeated || ["string", "bytes", "map"].contains($0.type) || messages.contains($0.type)
        }
    }

    @Test("Every text, list, map and message in node.proto has a bound of its kind, and nothing else has one")
    func complete() throws {
        let fields = try Self.fields()
        #expect(fields.count > 200, "the file is read")
        for field in fields {
            let bound = WireBounds.messages[field.message]?[field.number]
            switch (bound, field.type, field.isRepeated) {
            case (.text, "string", false), (.text, "bytes", false), (.map, "map", false), (.numbers, _, true): break
            case (.list(_, .text), "string", true), (.list(_, .text), "bytes", true): break
            case (.list(_, .message(let name)), let type, true) where name == type: break
            case (.message(let name), let type, false) where name == type: break
            default: Issue.record("\(field): \(field.type) has \(bound.map { "\($0)" } ?? "no bound") in WireBounds")
            }
        }
        let known = Set(fields.map { "\($0.message).\($0.number)" })
        for (message, bounds) in WireBounds.messages {
            for number in bounds.keys { #expect(known.contains("\(message).\(number)"), "\(message).\(number)") }
        }
    }

    private func tag(_ number: Int) -> [UInt8] { varint(UInt64(number) << 3 | 2) }

    private func varint(_ value: UInt64) -> [UInt8] {
        var (bytes, rest) = ([UInt8](), value)
        while rest > 0x7F {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    private func field(_ number: Int, _ content: [UInt8]) -> [UInt8] {
        tag(number) + varint(UInt64(content.count)) + content
    }

    /// The contents of a message's fields by number.
    private func contents(_ bytes: [UInt8], of number: Int) throws -> [[UInt8]] {
        var (found, at) = ([[UInt8]](), 0)
        func next() -> UInt64 {
            var (value, shift) = (UInt64(0), UInt64(0))
            repeat {
                value |= UInt64(bytes[at] & 0x7F) << shift
                shift += 7
                at += 1
            } while bytes[at - 1] & 0x80 != 0
            return value
        }
        while at < bytes.count {
            let tag = next()
            let length = Int(next())
            if tag == UInt64(number) << 3 | 2 { found.append(Array(bytes[at..<at + length])) }
            at += length
        }
        return found
    }

    private func bounded(_ bytes: [UInt8], _ message: String) throws -> (bytes: [UInt8], excess: WireExcess) {
        let bounds = try #require(WireBounds.graph[message])
        var bounder = TextBounder()
        let changed = try bytes.withUnsafeBytes { try bounder.bound($0, bounds) }
        return (changed ?? bytes, bounder.excess)
    }

    @Test("Each field of each message is within its bound afterwards, and what was left out is counted")
    func everyField() throws {
        for (message, bounds) in WireBounds.messages {
            for (number, bound) in bounds {
                let name: Comment = "\(message).\(number)"
                switch bound {
                case .text(let most):
                    let exact = field(number, Array(repeating: 0x61, count: most))
                    #expect(try bounded(exact, message).bytes == exact, name)
                    for extra in [1, 2, 3, 100_000] {
                        let long = "ä".utf8 + Array(repeating: 0x62, count: most - 2 + extra)
                        let (bytes, excess) = try bounded(field(number, Array(long)), message)
                        let text = try #require(try contents(bytes, of: number).first)
                        #expect(text.count <= most && text.count > most - 7, name)
                        let read = try #require(String(validating: text, as: UTF8.self))
                        #expect(read.hasSuffix(WireBounds.mark), name)
                        #expect(excess.counts == ["\(message).\(number)": 1], name)
                    }
                case .list(let most, let each):
                    let many = Array(repeating: field(number, []), count: most + 7).flatMap(\.self)
                    let (bytes, excess) = try bounded(many, message)
                    #expect(try contents(bytes, of: number).count == most, name)
                    #expect(excess.total == 7, name)
                    if case .text(let most) = each {
                        let long = field(number, Array(repeating: 0x61, count: most + 1))
                        #expect(try contents(try bounded(long, message).bytes, of: number)[0].count == most, name)
                    }
                case .map(let most, let key, let value):
                    let pair = field(1, Array("k".utf8)) + field(2, [])
                    let many = Array(repeating: field(number, pair), count: most + 7).flatMap(\.self)
                    #expect(try contents(try bounded(many, message).bytes, of: number).count == most, name)
                    for (long, length) in [(1, key), (2, value)] {
                        let pair = field(long, Array(repeating: 0x61, count: length + 1))
                        let (bytes, excess) = try bounded(field(number, pair), message)
                        #expect(bytes.isEmpty && excess.total == 1, name)
                    }
                case .message:
                    let (bytes, excess) = try bounded(field(number, []) + field(number, []), message)
                    #expect(try contents(bytes, of: number).count == 1 && excess.total == 1, name)
                case .numbers: break
                }
            }
        }
    }

    @Test("A message within its bounds is decoded from the bytes it came in, and nothing changes beside what is cut")
    func nothingElse() throws {
        var hello = WireHello()
        hello.nodeID = "node"
        hello.hostName = String(repeating: "x", count: 100_000)
        hello.capabilities = Dictionary(uniqueKeysWithValues: (0..<1000).map { ("name.\($0)", "true") })
        hello.runtimeProfiles = (0..<100).map { number in
            .with {
                $0.name = "\(number)"
                $0.reason = String(repeating: "é", count: 3000)
            }
        }
        hello.bots = [.with { ($0.botID, $0.lastExit.lastStderr) = ("bot", String(repeating: "e", count: 90_000)) }]
        hello.uptimeSeconds = 17
        let message = WireSessionMessage.with { $0.hello = hello }
        var excess = WireExcess()
        let read = try WireSessionMessage(bounded: try message.serializedBytes() as [UInt8], excess: &excess).hello
        #expect(read.nodeID == "node" && read.uptimeSeconds == 17)
        #expect(read.hostName.utf8.count == WireBounds.nameBytes && read.hostName.hasSuffix("…"))
        #expect(read.capabilities.count == WireBounds.capabilities)
        #expect(read.runtimeProfiles.map(\.name) == (0..<WireBounds.profiles).map { "\($0)" })
        #expect(read.runtimeProfiles.allSatisfy { $0.reason.hasSuffix("é…") && $0.reason.utf8.count <= 1024 })
        #expect(read.bots[0].lastExit.lastStderr.utf8.count == 12 << 10)
        #expect(
            excess.counts == [
                "Hello.12": 1, "Hello.14": 872, "Hello.15": 36, "RuntimeProfile.5": 64, "ExitStatus.4": 1,
            ]
        )
        let bytes: [UInt8] = try read.serializedBytes()
        var none = WireExcess()
        #expect(try WireHello(bounded: bytes, excess: &none) == read && none.isEmpty, "what is bounded stays as it is")
    }

    @Test("What this version does not know takes no place, and groups and torn fields are no message")
    func unknown() throws {
        let known = field(3, Array("node".utf8))
        let hello = try WireHello(bounded: known + field(200, Array(repeating: 0, count: 1 << 20)))
        #expect(hello.nodeID == "node" && hello.unknownFields.data.isEmpty)
        let all: [[UInt8]] = [[0x1B], [0x1A], [0x1A, 5, 0x61], [9, 0], [0x0D], Array(repeating: 0xFF, count: 11)]
        for torn in all {
            #expect(throws: (any Error).self) { try WireHello(bounded: known + torn) }
        }
    }

    @Test("What is sent is within the bounds already, and a long reason is no fault of the sender's")
    func sending() throws {
        let result = WireCommandResult.with { $0.message = String(repeating: "m", count: 10_000) }
        var excess = WireExcess()
        let read = try WireCommandResult(bounded: try result.fittingBytes(), excess: &excess)
        #expect(read.message.utf8.count == WireBounds.sentenceBytes && read.message.hasSuffix("m…") && excess.isEmpty)
    }

    @Test("A packet's own texts are held to the bounds over the link, and the session tells what was left out")
    func overTheLink() async throws {
        let link = Link()
        try await link.run { link in
            let stream = try link.agent.openPacketStream(.with { $0.journalID = "journal" })
            // As bytes: an agent of ours would cut it before it sends.
            let batch = WirePacketBatch.with {
                $0.packets = [.with { ($0.botID, $0.type) = ("bot", String(repeating: "t", count: 900_000)) }]
            }
            try await stream.send(try batch.serializedBytes() as [UInt8])
            var type: String?
            while let event = await link.hub.next() {
                if case .packets(_, let stream) = event {
                    type = try await stream.receive(WirePacketBatch.self)?.packets.first?.type
                }
                if case .excess(let excess) = event {
                    #expect(excess.counts == ["MonitorPacket.5": 1])
                    break
                }
            }
            #expect(type?.utf8.count == WireBounds.wordBytes)
        }
    }
}
