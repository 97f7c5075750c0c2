import Foundation
import Synchronization
import WireFormat

/// A JSON text that is kept and handed on as somebody wrote it: a bot's configuration, a packet. Numbers in it may mean more than
/// a `Double` holds, and whoever reads it in the end is not the hub.
struct WrittenJSON: Sendable {
    let text: String

    init(_ text: String) { self.text = text }

    /// Of a value that nobody wrote.
    init(_ value: JSONValue) { text = String(decoding: value.text, as: UTF8.self) }

    static let emptyObject = WrittenJSON("{}")
}

extension WrittenJSON: Equatable {
    /// Whether both say the same, however they are written.
    static func == (one: WrittenJSON, other: WrittenJSON) -> Bool {
        CanonicalJSON.isSame(Array(one.text.utf8), Array(other.text.utf8))
    }
}

/// Coding knows values and no texts, so what is encoded is a mark that nobody can guess, in whose place the text is put afterwards
/// (`WrittenTexts.encode`); and what is decoded is a string that holds the text (`WrittenTexts.quoted`).
extension WrittenJSON: Codable {
    init(from decoder: any Decoder) throws {
        text = try decoder.singleValueContainer().decode(String.self)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(WrittenTexts.current?.mark(of: text) ?? text)
    }
}

/// The texts that are to stand in a document as they were written.
final class WrittenTexts: Sendable {
    /// Of what is being encoded just now.
    @TaskLocal fileprivate static var current: WrittenTexts?

    private let nonce = "written-\(UInt64.random(in: 0 ... .max))-\(UInt64.random(in: 0 ... .max)):"
    private let texts = Mutex<[String]>([])

    private init() {}

    fileprivate func mark(of text: String) -> String {
        texts.withLock { texts in
            texts.append(text)
            return "\(nonce)\(texts.count - 1)."
        }
    }

    /// What an encoder makes of a value, with the written texts in their places.
    static func encode(_ value: some Encodable, by encoder: JSONEncoder) throws -> Data {
        let texts = WrittenTexts()
        return texts.put(into: try $current.withValue(texts) { try encoder.encode(value) })
    }

    private func put(into data: Data) -> Data {
        let texts = texts.withLock { $0 }
        guard !texts.isEmpty else { return data }
        let begin = Data(("\"" + nonce).utf8)
        let end = Data(".\"".utf8)
        var result = Data(capacity: data.count + texts.reduce(0) { $0 + $1.utf8.count })
        var rest = data[...]
        while let mark = rest.range(of: begin), let close = rest[mark.upperBound...].range(of: end),
            let index = Int(decimal: String(decoding: rest[mark.upperBound..<close.lowerBound], as: UTF8.self)),
            texts.indices.contains(index)
        {
            result += rest[..<mark.lowerBound]
            result += Data(texts[index].utf8)
            rest = rest[close.upperBound...]
        }
        return result + rest
    }

    /// The text of a JSON object with the values of some members quoted, so that their texts can be decoded. `null` stays.
    static func quoted(_ json: Data, members: Set<String>) throws -> Data {
        let bytes = Array(json)
        guard !members.isEmpty, let found = WrittenMembers.find(bytes) else { return json }
        var result = Data()
        var copied = 0
        for (name, value) in found where members.contains(name) && !bytes[value].elementsEqual("null".utf8) {
            result += bytes[copied..<value.lowerBound]
            result += try JSONEncoder().encode(String(decoding: bytes[value], as: UTF8.self))
            copied = value.upperBound
        }
        return result + bytes[copied...]
    }
}
