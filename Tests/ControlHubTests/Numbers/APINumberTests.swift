import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import SwiftProtobuf
import TestSupport
import Testing
import WireFormat

@testable import ControlHub

/// Every number that a call takes, found in the list of calls.
@Suite("Numbers in requests")
struct APINumberTests {
    /// As JSON writes them.
    private static let extremes = [
        "0", "1", "-1", "1.5", "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808",
        "18446744073709551615", "-9223372036854775808", "-9223372036854775809", "1e308", "-1e308", "5e-324", "1e400",
    ]

    /// A number in a body: the call, the way to it, its bounds, and a body that holds a value there.
    private struct Member {
        var route: APIRoute
        var path: [String]
        var least: JSONValue?
        var most: JSONValue?
        var body: @Sendable (String) -> String

        var name: String { path.joined(separator: ".") }
    }

    private func members(of hub: TestHub) throws -> [Member] {
        try HubRouter.routes(hub.services).flatMap { route -> [Member] in
            guard let body = route.body, body.mediaType == "application/json" else { return [] }
            var library = SchemaLibrary()
            let schema = try body.schema(&library).json
            return Self.numbers(in: schema, library.named).map { path, number in
                Member(route: route, path: path, least: number["minimum"], most: number["maximum"]) {
                    Self.text(schema, path[...], $0)
                }
            }
        }
    }

    private static func numbers(in schema: JSONValue, _ named: [String: Schema]) -> [(
        path: [String], schema: JSONValue
    )] {
        if let name = schema["$ref"]?.stringValue?.split(separator: "/").last, let target = named[String(name)] {
            return numbers(in: target.json, named)
        }
        guard case .object(let properties)? = schema["properties"] else { return [] }
        return properties.flatMap { name, member -> [(path: [String], schema: JSONValue)] in
            let kinds: [JSONValue] =
                if case .array(let kinds)? = member["type"] { kinds } else { [member["type"] ?? .null] }
            if kinds.contains(.string("integer")) || kinds.contains(.string("number")) { return [([name], member)] }
            return numbers(in: member, named).map { ([name] + $0.path, $0.schema) }
        }
    }

    /// A body with what must be there, and the value at the end of the path.
    private static func text(_ schema: JSONValue, _ path: ArraySlice<String>, _ value: String) -> String {
        var members: [String] = []
        if case .array(let required)? = schema["required"] {
            for case .string(let name) in required where name != path.first {
                let words: [JSONValue] =
                    if case .array(let words)? = schema["properties"]?[name]?["enum"] { words } else { [] }
                members.append("\"\(name)\":\"\(words.first?.stringValue ?? "x\(UInt32.random(in: 0 ... .max))")\"")
            }
        }
        if let name = path.first {
            let rest = path.dropFirst()
            let inner = rest.isEmpty ? value : text(schema["properties"]?[name] ?? .null, rest, value)
            members.append("\"\(name)\":\(inner)")
        }
        return "{\(members.joined(separator: ","))}"
    }

    private static func isOutside(_ value: String, _ least: JSONValue, _ most: JSONValue) -> Bool {
        func real(_ value: JSONValue) -> Double {
            switch value {
            case .integer(let number): Double(number)
            case .number(let number): number
            default: .nan
            }
        }
        guard let number = Double(value) else { return true }
        return number < real(least) || number > real(most)
    }

    @Test("Each number of a body says its bounds in the OpenAPI document")
    func documented() throws {
        let members = try members(of: try TestHub())
        #expect(Set(members.map(\.name)).isSuperset(of: ["ttl_seconds", "thresholds.offline_after_seconds", "kept"]))
        for member in members {
            #expect(
                member.least != nil && member.most != nil,
                "\(member.route.method) \(member.route.path) \(member.name)"
            )
        }
    }

    @Test("A number of a body outside of its bounds is refused by its name and its bounds, and none ends the hub")
    func bodies() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let (node, bot) = try await hub.botOnNode()
        let ids = ["nodes": node.rawValue, "bots": bot.rawValue]
        let members = try members(of: hub)
        try await hub.api { api in
            for member in members {
                let least = try #require(member.least)
                let most = try #require(member.most)
                var collection = ""
                let path = member.route.segments.reduce("") { path, segment in
                    if segment.parameter == nil { collection = segment.text }
                    return path + "/" + (segment.parameter == nil ? segment.text : ids[collection] ?? "x")
                }
                for value in Self.extremes {
                    hub.clock.advance(by: .seconds(1))
                    let answer = try await api.send(member.route.method, path, token: token, body: member.body(value))
                    let what = "\(member.route.method) \(path) \(member.name)=\(value): \(answer.status) \(answer.json)"
                    #expect(answer.status < 500, "\(what)")
                    guard Self.isOutside(value, least, most), answer.status != 404 else { continue }
                    #expect(answer.status == 422 && answer.code == "invalid_request", "\(what)")
                    // 1e400 is no number that JSON's readers agree on.
                    guard value != "1e400" else { continue }
                    let detail = answer["detail"]?.stringValue ?? ""
                    #expect(detail.contains("`\(member.name)`") && detail.contains(Self.bounds(least, most)), "\(what)")
                }
            }
            try await api.readEverything(hub, token, ids: ids.mapValues { [$0] }, after: "numbers in bodies")
        }
    }

    private static func bounds(_ least: JSONValue, _ most: JSONValue) -> String {
        func text(_ value: JSONValue) -> String { if case .integer(let number) = value { "\(number)" } else { "?" } }
        return "from \(text(least)) to \(text(most))"
    }

    @Test("A number of a query outside of its bounds is refused by its name and its bounds, and none ends the hub")
    func queries() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let (node, bot) = try await hub.botOnNode()
        hub.channel.chunks = [WireLogChunk.with { $0.reachedEnd = true }]
        let ids = ["nodes": node.rawValue, "bots": bot.rawValue]
        try await hub.api { api in
            var count = 0
            for route in HubRouter.routes(hub.services) where route.method == .get {
                var collection = ""
                let path = route.segments.reduce("") { path, segment in
                    if segment.parameter == nil { collection = segment.text }
                    return path + "/" + (segment.parameter == nil ? segment.text : ids[collection] ?? "x")
                }
                for parameter in route.parameters where parameter.place == .query {
                    let isNumber = parameter.schema.members["type"] == .string("integer")
                    let isTime = parameter.schema == .time || parameter.name == "cursor"
                    guard isNumber || isTime else { continue }
                    count += 1
                    let values = isNumber ? Self.extremes : Self.extremes + Self.times
                    for value in values {
                        hub.clock.advance(by: .seconds(1))
                        let status = try await api.client.execute(
                            uri: "\(path)?\(parameter.name)=\(value.replacing("+", with: "%2B"))",
                            method: .get,
                            headers: [.authorization: "Bearer \(token)", .accept: "application/json"],
                            body: nil
                        ) { ($0.status.code, String(buffer: $0.body)) }
                        #expect(status.0 < 500 || status.0 == 503, "GET \(path)?\(parameter.name)=\(value): \(status)")
                        guard isNumber, let least = parameter.schema.members["minimum"],
                            let most = parameter.schema.members["maximum"], status.0 != 404
                        else { continue }
                        guard Self.isOutside(value, least, most) else { continue }
                        #expect(
                            status.0 == 422 && status.1.contains("`\(parameter.name)`")
                                && status.1.contains(Self.bounds(least, most)),
                            "GET \(path)?\(parameter.name)=\(value): \(status)"
                        )
                    }
                }
            }
            #expect(count > 20)
        }
    }

    private static let times = [
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "99999-12-31T23:59:59Z",
        "999999999999-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "1970-01-01T00:00:00.999999999999Z",
    ]

    @Test("A range of a file may end where no file does")
    func ranges() throws {
        for text in ["bytes=0-18446744073709551615", "bytes=1-9007199254740993", "bytes=0-18446744073709551616"] {
            let part = ReadConditions([.range: text]).part
            #expect(part.bytes(of: 10)?.upperBound == 10, "\(text)")
        }
        #expect(ReadConditions([.range: "bytes=-18446744073709551615"]).part.bytes(of: 10) == 0..<10)
        #expect(ReadConditions([.range: "bytes=18446744073709551615-"]).part.bytes(of: 10) == nil)
    }
}
