import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import WireFormat

/// The API's JSON: snake_case members, RFC 3339 times in UTC with milliseconds.
enum JSONCoding {
    /// Enough for every body but messages and configurations.
    static let smallBodyBytes = 64 << 10
    static let largeBodyBytes = 1 << 20

    static func encode(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(date.rfc3339)
        }
        return try WrittenTexts.encode(value, by: encoder)
    }

    static func response(
        _ value: some Encodable,
        status: HTTPResponse.Status = .ok,
        headers: HTTPFields = [:]
    ) throws -> Response {
        raw(try encode(value), status: status, headers: headers)
    }

    static func raw(
        _ data: Data,
        status: HTTPResponse.Status,
        type: String = "application/json",
        headers: HTTPFields = [:]
    ) -> Response {
        raw(ByteBuffer(bytes: data), status: status, type: type, headers: headers)
    }

    static func raw(
        _ bytes: ByteBuffer,
        status: HTTPResponse.Status,
        type: String = "application/json",
        headers: HTTPFields = [:]
    ) -> Response {
        var headers = headers
        headers[.contentType] = type
        headers[.cacheControl] = "no-store"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: bytes))
    }

    /// How long a body may take to come, however often a little of it does: 1 MiB at 280 kbit/s.
    static let bodyTimeout = Duration.seconds(30)

    /// The body of a request, at most `limit` bytes. Throws `payloadTooLarge`, `requestTimeout`.
    static func body(_ request: Request, limit: Int) async throws -> Data {
        if let announced = request.headers[.contentLength].map({ Int(decimal: $0) ?? .max }), announced > limit {
            throw tooLarge(limit)
        }
        return try await withThrowingTaskGroup(of: Data.self) { group in
            group.addTask {
                var data = Data()
                for try await part in request.body {
                    guard data.count + part.readableBytes <= limit else { throw tooLarge(limit) }
                    data.append(contentsOf: part.readableBytesView)
                }
                return data
            }
            group.addTask {
                try await Task.sleep(for: bodyTimeout)
                throw HubError(
                    .requestTimeout,
                    "The request's body did not come within \(Int(saturating: bodyTimeout.seconds)) s. Send it again, faster or smaller."
                )
            }
            defer { group.cancelAll() }
            guard let data = try await group.next() else { throw tooLarge(limit) }
            return data
        }
    }

    private static func tooLarge(_ limit: Int) -> HubError {
        HubError(.payloadTooLarge, "The request's body is larger than \(limit) bytes.")
    }

    /// Reads a body as JSON; an empty one counts as `{}`. Throws `invalidRequest` naming the member that is wrong.
    /// Numbers, texts and lists beyond the bounds that the OpenAPI document shows are refused.
    static func decode<Value: Decodable>(_ type: Value.Type, from data: Data) throws -> Value {
        try decode(type, from: value(data))
    }

    /// Reads a body as JSON, once for all that wants to know of it; an empty one counts as `{}`.
    static func value(_ data: Data) throws -> JSONValue {
        guard !data.isEmpty else { return .object([:]) }
        do throws(JSONReader.Fault) {
            return try JSONReader.value(data, of: .request)
        } catch {
            throw HubError(
                .invalidRequest,
                error.isTooDeep
                    ? "The request's body is nested deeper than \(JSONReader.maximumDepth) levels. Make it flatter."
                    : error.hasLongName
                        ? "The request's body has a name of more than \(JSONScanner.longestName) bytes. Shorten it."
                        : "The request's body is not JSON: \(fault(Array(data)))."
            )
        }
    }

    /// Why a text is not taken for JSON that is not nested too deep.
    private static func fault(_ json: [UInt8]) -> String {
        guard String(validating: json, as: UTF8.self) != nil else { return "it is not text in UTF-8" }
        // What is asked of operators besides: what half a pair means nobody can say.
        return JSONFault.describe(json)
            ?? #"it holds half of a surrogate pair, such as \ud800 alone; write the whole character"#
    }

    /// The same of a body that was read.
    static func decode<Value: Decodable>(_ type: Value.Type, from value: JSONValue) throws -> Value {
        if let document = type as? any APIDocument.Type { try BodyBounds.check(document, value) }
        do {
            return try JSONValueDecoder.decode(type, from: value)
        } catch let error as DecodingError {
            throw HubError(.invalidRequest, describe(error), cause: error)
        }
    }

    private static func describe(_ error: DecodingError) -> String {
        func path(_ context: DecodingError.Context, _ last: String? = nil) -> String {
            let names = context.codingPath.map(\.stringValue) + (last.map { [$0] } ?? [])
            return names.map(snakeCase).joined(separator: ".")
        }
        switch error {
        case .keyNotFound(let key, let context): return "`\(path(context, key.stringValue))` is missing."
        case .typeMismatch(_, let context) where !context.codingPath.isEmpty,
            .valueNotFound(_, let context) where !context.codingPath.isEmpty:
            return "`\(path(context))` has the wrong type."
        case .dataCorrupted(let context) where !context.codingPath.isEmpty:
            return "`\(path(context))` has a value that is not possible here."
        default: return "The request's body is JSON, but no object, which stands in { }."
        }
    }

    /// The JSON name of a member: `linkRttMs` is `link_rtt_ms`.
    static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { text, character in
            text += character.isUppercase ? "_" + character.lowercased() : String(character)
        }
    }
}

/// One page of a list.
struct Page<Item: Codable & Sendable>: Codable, APIDocument {
    let items: [Item]
    /// Ask for it with `cursor` to get the next page; null on the last.
    let nextCursor: String?

    static var memberDetails: [String: Schema] {
        ["next_cursor": Schema(["type": .array([.string("string"), .string("null")])])]
    }

    private enum CodingKeys: String, CodingKey {
        case items, nextCursor
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(items, forKey: .items)
        try container.encode(nextCursor, forKey: .nextCursor)
    }

    /// Makes a page of `rows`, which were asked for with one more than `limit`.
    ///
    /// - Parameter hasMore: there are more although there are not as many: they would have been too large together.
    init<Row>(_ rows: [Row], limit: Int, hasMore: Bool = false, cursor: (Row) -> String, item: (Row) throws -> Item)
        rethrows
    {
        let shown = rows.prefix(limit)
        items = try shown.map(item)
        nextCursor = rows.count > limit || hasMore ? shown.last.map(cursor) : nil
    }

    /// Makes a page of what was found with one more than `limit`. It may have fewer items, or none, and others after it.
    init<Row>(_ found: Walk.Found<Row>, limit: Int, cursor: (Row) -> Int64, item: (Row) -> Item) {
        let shown = found.items.prefix(limit)
        items = shown.map(item)
        nextCursor = (found.items.count > limit ? shown.last.map(cursor) : found.end).map { String($0) }
    }
}
