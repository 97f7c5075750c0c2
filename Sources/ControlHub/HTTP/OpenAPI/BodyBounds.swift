import Foundation
import HTTPTypes
import Hummingbird
import WireFormat

/// Holds the numbers, texts and lists of a request's body, and the texts beside it, against the bounds that the OpenAPI document shows, so that the
/// two cannot differ and no rule behind has to expect any number, length or count at all.
enum BodyBounds {
    /// A text that may be longer than this has a size rather than a length: one beyond is `payloadTooLarge`.
    private static let longText: Int64 = 64 << 10

    /// Throws `invalidRequest` naming the first member outside of its bounds, and them; `payloadTooLarge` for a long text.
    static func check<Document: APIDocument>(_ type: Document.Type, _ value: JSONValue) throws {
        guard Defence.numberBounds.isUp else { return }
        let (schema, named) = try SchemaLibrary.described(type)
        guard hasBounds(schema.json, named) else { return }
        guard let problem = violation(of: value, schema.json, named, path: "") else { return }
        throw HubError(problem.isTooLarge ? .payloadTooLarge : .invalidRequest, problem.text)
    }

    /// Throws `invalidRequest` naming the first query parameter or header that is longer than the OpenAPI document says.
    static func check(_ parameters: [APIParameter], _ request: Request) throws {
        for parameter in parameters where parameter.schema.members["maxLength"] != nil {
            let text: String? =
                switch parameter.place {
                case .query: request.query(parameter.name)
                case .header: HTTPField.Name(parameter.name).flatMap { request.headers[$0] }
                }
            if let text, let problem = tooLong(text, parameter.schema.json, parameter.name) {
                throw HubError(.invalidRequest, problem.text)
            }
        }
    }

    private struct Problem {
        let text: String
        var isTooLarge = false
    }

    private static func hasBounds(_ schema: JSONValue, _ named: [String: Schema]) -> Bool {
        if ["minimum", "maximum", "maxLength", "maxItems", "maxProperties", "enum"].contains(where: {
            schema[$0] != nil
        }) {
            return true
        }
        return children(of: schema, named).contains { hasBounds($0, named) }
    }

    /// The schemas of members, items and alternatives. None refers to itself.
    private static func children(of schema: JSONValue, _ named: [String: Schema]) -> [JSONValue] {
        var found: [JSONValue] = []
        if case .object(let properties)? = schema["properties"] { found += properties.values }
        found += [schema["items"], schema["additionalProperties"], referred(schema, named)].compactMap { $0 }
        if case .array(let alternatives)? = schema["anyOf"] { found += alternatives }
        return found
    }

    private static func referred(_ schema: JSONValue, _ named: [String: Schema]) -> JSONValue? {
        guard let name = schema["$ref"]?.stringValue?.split(separator: "/").last else { return nil }
        return named[String(name)]?.json
    }

    private static func violation(
        of value: JSONValue,
        _ schema: JSONValue,
        _ named: [String: Schema],
        path: String
    ) -> Problem? {
        if let target = referred(schema, named) { return violation(of: value, target, named, path: path) }
        if case .array(let alternatives)? = schema["anyOf"] {
            return alternatives.lazy.compactMap { violation(of: value, $0, named, path: path) }.first
        }
        func inside(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
        switch value {
        case .integer, .number, .literal: return outside(value, schema, path).map { Problem(text: $0) }
        case .string(let text): return tooLong(text, schema, path) ?? noWord(text, schema, path)
        case .array(let items):
            if let problem = tooMany(items.count, schema["maxItems"], "items", path) { return problem }
            guard let kind = schema["items"] else { return nil }
            return items.lazy.compactMap { violation(of: $0, kind, named, path: path) }.first
        case .object(let members):
            if let problem = tooMany(members.count, schema["maxProperties"], "members", path) { return problem }
            // As the decoder reads names.
            return members.sorted { $0.key < $1.key }.lazy.compactMap { key, value in
                let name = JSONCoding.snakeCase(key).split(separator: "_").joined(separator: "_")
                guard let kind = schema["properties"]?[name] ?? schema["additionalProperties"] else { return nil }
                return violation(of: value, kind, named, path: inside(name))
            }.first
        case .null, .bool: return nil
        }
    }

    private static func tooLong(_ text: String, _ schema: JSONValue, _ path: String) -> Problem? {
        guard Defence.bodyBounds.isUp, case .integer(let most)? = schema["maxLength"],
            // A byte is no more than a character, and cheaper to count.
            text.utf8.count > most, text.unicodeScalars.count > most
        else { return nil }
        return Problem(
            text: "`\(path)` has \(text.unicodeScalars.count) characters; at most \(most) are possible.",
            isTooLarge: most > longText
        )
    }

    /// Before it is compared with the words that are possible; see `JSONScanner.longestName`.
    private static func noWord(_ text: String, _ schema: JSONValue, _ path: String) -> Problem? {
        guard schema["enum"] != nil, text.utf8.count > WireBounds.wordBytes else { return nil }
        return Problem(text: "`\(path)` has a value that is not possible here.")
    }

    private static func tooMany(_ count: Int, _ most: JSONValue?, _ what: String, _ path: String) -> Problem? {
        guard Defence.bodyBounds.isUp, case .integer(let most)? = most, count > most else { return nil }
        let whole = path.isEmpty ? "The request's body" : "`\(path)`"
        return Problem(text: "\(whole) has \(count) \(what); at most \(most) are possible.")
    }

    private static func outside(_ value: JSONValue, _ schema: JSONValue, _ path: String) -> String? {
        guard let least = schema["minimum"], let most = schema["maximum"] else { return nil }
        guard !(isOrdered(least, value) && isOrdered(value, most)) else { return nil }
        let wholes: [JSONValue] = [.string("integer"), .array([.string("integer"), .string("null")])]
        let kind = schema["type"].map(wholes.contains) == true ? "whole number" : "number"
        return "`\(path)` must be a \(kind) from \(text(least)) to \(text(most))."
    }

    private static func isOrdered(_ left: JSONValue, _ right: JSONValue) -> Bool {
        switch (left, right) {
        case (.integer(let left), .integer(let right)): left <= right
        case (.integer(let left), .number(let right)): Double(left) <= right
        case (.number(let left), .integer(let right)): left <= Double(right)
        case (.number(let left), .number(let right)): left <= right
        default: false
        }
    }

    private static func text(_ number: JSONValue) -> String {
        switch number {
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        default: ""
        }
    }
}
