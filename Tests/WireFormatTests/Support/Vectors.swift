import Foundation

/// Golden bytes under Tests/Vectors, made by another implementation (protoc and Python) from the JSON beside them.
enum Vectors {
    static func load<Content: Decodable>(_ name: String, as type: Content.Type = Content.self) throws -> Content {
        let file = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Vectors").appendingPathComponent(name)
        return try JSONDecoder().decode(type, from: Data(contentsOf: file))
    }
}

struct OddHex: Error {}

extension [UInt8] {
    /// The bytes that pairs of hexadecimal digits spell.
    init(hex: String) throws {
        let digits = Array<Character>(hex)
        guard digits.count.isMultiple(of: 2) else { throw OddHex() }
        self = try stride(from: 0, to: digits.count, by: 2).map { index in
            guard let byte = UInt8(String(digits[index...(index + 1)]), radix: 16) else { throw OddHex() }
            return byte
        }
    }

    var hex: String { map { String(format: "%02x", $0) }.joined() }
}
