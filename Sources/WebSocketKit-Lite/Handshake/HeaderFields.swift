/// The header fields of an HTTP message, in order, with names compared without regard to case (RFC 9110 §5).
public struct HeaderFields: Sendable, ExpressibleByDictionaryLiteral {
    /// The fields as sent or received.
    public private(set) var fields: [(name: String, value: String)]

    /// Takes fields in order.
    public init(_ fields: [(name: String, value: String)] = []) {
        self.fields = fields
    }

    /// Takes fields in order.
    public init(dictionaryLiteral elements: (String, String)...) {
        fields = elements.map { (name: $0.0, value: $0.1) }
    }

    /// The value of the first field of this name.
    public subscript(name: String) -> String? {
        fields.first { ASCII.equalIgnoringCase($0.name, name) }?.value
    }

    /// The values of all fields of this name.
    public func values(for name: String) -> [String] {
        fields.lazy.filter { ASCII.equalIgnoringCase($0.name, name) }.map(\.value)
    }

    /// The members of a comma-separated list over all fields of this name, trimmed, empty ones left out.
    public func list(for name: String) -> [String] {
        values(for: name).flatMap { $0.split(separator: ",") }
            .map { ASCII.trim($0) }
            .filter { !$0.isEmpty }
    }

    /// Adds a field at the end.
    public mutating func append(name: String, value: String) {
        fields.append((name: name, value: value))
    }

    /// Throws `LocalMisuse.invalidHeader` unless every field may stand in an HTTP message.
    func validate() throws(LocalMisuse) {
        for field in fields {
            guard ASCII.isToken(field.name), field.value.utf8.allSatisfy(ASCII.isFieldContent) else {
                throw .invalidHeader(name: field.name)
            }
        }
    }

    /// Appends the fields as HTTP/1.1 writes them.
    func write(to output: inout [UInt8]) {
        for field in fields {
            output.append(contentsOf: "\(field.name): \(field.value)\r\n".utf8)
        }
    }
}
