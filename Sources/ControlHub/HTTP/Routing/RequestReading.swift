import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

extension Request {
    /// The body as a JSON document; nothing at all counts as `{}`. Throws `invalidRequest` naming the member that is
    /// wrong, missing or not known, `payloadTooLarge`, `requestTimeout`.
    ///
    /// A member that is not known is refused: a misspelled one would otherwise change nothing and say nothing.
    func json<Document: APIDocument>(_ type: Document.Type, limit: Int = JSONCoding.smallBodyBytes) async throws
        -> Document
    {
        let body = try await JSONCoding.body(self, limit: limit)
        if let (name, _) = WrittenMembers.doubled(Array(body), except: type.writtenMembers) {
            throw HubError(.invalidRequest, "`\(name.prefix(64))` stands twice in one object. Leave one of the two.")
        }
        let data = try WrittenTexts.quoted(body, members: type.writtenMembers)
        let value = try JSONCoding.value(data)
        let document = try JSONCoding.decode(type, from: value)
        guard !data.isEmpty, let known = try SchemaLibrary.members(of: type).memberNames,
            case .object(let members) = value
        else { return document }
        let sent = members.keys.map(JSONCoding.snakeCase)
        if let unknown = sent.sorted().first(where: { !known.contains($0) }) {
            throw HubError(
                .invalidRequest,
                "`\(unknown.prefix(64))` is not known here. Known are \(known.sorted().joined(separator: ", "))."
            )
        }
        return document
    }

    /// A query parameter, percent-decoded.
    func query(_ name: String) -> String? {
        uri.queryParameters.get(name)
    }

    /// A whole number in the query. Throws `invalidRequest` for anything else and for what lies outside `range`.
    func number(_ name: String, in range: ClosedRange<Int64>) throws -> Int64? {
        guard let text = query(name) else { return nil }
        // Digits alone: what else `Int64` reads, such as a sign, is no JSON integer.
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let value = Int64(text), range.contains(value)  // fits: text, and the range is looked at
        else {
            throw HubError(
                .invalidRequest,
                "`\(name)` must be a whole number from \(range.lowerBound) to \(range.upperBound)."
            )
        }
        return value
    }

    /// One of a set of words in the query.
    func word<Words: CaseIterable & RawRepresentable<String>>(_ name: String, of type: Words.Type) throws -> Words? {
        guard let text = query(name) else { return nil }
        guard let word = Words(rawValue: text) else {
            let all = Words.allCases.map(\.rawValue).joined(separator: ", ")
            throw HubError(.invalidRequest, "`\(name)` must be one of \(all).")
        }
        return word
    }

    /// `true` or `false` in the query; false where it is missing.
    func flag(_ name: String) throws -> Bool {
        switch query(name) {
        case nil, "false": return false
        case "true": return true
        default: throw HubError(.invalidRequest, "`\(name)` must be true or false.")
        }
    }

    /// An RFC 3339 time in the query.
    func time(_ name: String) throws -> Date? {
        guard let text = query(name) else { return nil }
        guard let date = Date(rfc3339: text) else {
            throw HubError(.invalidRequest, "`\(name)` must be an RFC 3339 time, for example 2026-01-31T12:00:00Z.")
        }
        return date
    }

    /// Text in the query of a bounded length.
    func text(_ name: String, atMost bytes: Int = 400) throws -> String? {
        guard let text = query(name) else { return nil }
        guard (1...bytes).contains(text.utf8.count) else {
            throw HubError(.invalidRequest, "`\(name)` must have 1 to \(bytes) bytes.")
        }
        return text
    }

    /// Items a page shows: 100 unless asked, at most 500.
    func pageLimit() throws -> Int {
        Int(clamping: try number("limit", in: 1...500) ?? 100)
    }

    /// A list's `cursor`, which is what the page before ended with. Throws `invalidRequest` for anything that no page ends with:
    /// taken for a place all the same it would give another list than who asks believes.
    ///
    /// - Parameter read: nil for what is none.
    func cursor<Place>(_ read: (String) -> Place?) throws -> Place? {
        guard let text = try text("cursor") else { return nil }
        guard let place = read(text) else {
            throw HubError(
                .invalidRequest,
                "`cursor` must be the `next_cursor` of an earlier page of this list. Leave it out to begin with the first."
            )
        }
        return place
    }

    /// A list's `cursor` that is an id.
    func cursor<ID: HubIdentifier>(of type: ID.Type) throws -> ID? { try cursor(ID.init(cursor:)) }

    /// A list's `cursor` that is a position.
    func positionCursor() throws -> Int64? {
        try cursor { text in Int64(decimal: text).flatMap { (0...999_999_999_999_999_999).contains($0) ? $0 : nil } }
    }
}

extension HubRequestContext {
    /// A part of the path, percent-decoded.
    func part(_ name: String) throws -> String {
        let raw = try parameters.require(name)
        guard let text = raw.removingPercentEncoding else {
            throw HubError(.notFound, "The address holds a part that is no text.")
        }
        return text
    }

    func nodeID() throws -> NodeID { NodeID(rawValue: try part("id")) }
    func botID() throws -> BotID { BotID(rawValue: try part("id")) }
}

extension Date {
    /// Reads an RFC 3339 time; nil for anything else.
    init?(rfc3339 text: String) {
        guard let time = RFC3339Time(text) else { return nil }
        // In milliseconds, as times are kept; within the years 1 to 9999.
        self.init(
            unixMilliseconds: time.seconds.clampedMultiplied(by: 1_000).clampedAdding(time.nanoseconds / 1_000_000)
        )
    }
}
