import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import TestSupport
import Testing

@testable import ControlHub

/// Whatever a call's body is full of, through the router and what really takes it: what that costs grows with its bytes.
@Suite("What a call's body costs the hub", .serialized, .timeLimit(.minutes(15)))
struct APIWorkTests {
    /// Most bodies have 64 KiB at most.
    private static let sizes = (small: 15 << 10, large: 60 << 10)

    /// A call, and where in its body the value stands; empty for the whole of it.
    private struct Place: Sendable {
        let route: APIRoute
        let path: [String]
        let schema: JSONValue

        var name: String { "\(route.method) \(route.path) \(path.joined(separator: "."))" }

        func body(_ value: String) -> String { Self.text(schema, path[...], value) }

        /// A body with what must be there, and the value at the end of the path.
        private static func text(_ schema: JSONValue, _ path: ArraySlice<String>, _ value: String) -> String {
            guard let first = path.first else { return value }
            var members: [String] = []
            if case .array(let required)? = schema["required"] {
                for case .string(let name) in required where name != first {
                    members.append("\"\(name)\":\(sample(schema["properties"]?[name] ?? .null))")
                }
            }
            let inner = text(schema["properties"]?[first] ?? .null, path.dropFirst(), value)
            return "{\((members + ["\"\(first)\":\(inner)"]).joined(separator: ","))}"
        }

        private static func sample(_ schema: JSONValue) -> String {
            if case .array(let words)? = schema["enum"], let word = words.first?.stringValue { return "\"\(word)\"" }
            switch schema["type"] {
            case .string("integer"), .string("number"): return "1"
            case .string("boolean"): return "true"
            case .string("array"): return "[]"
            case .string("object"): return "{}"
            default: return "\"x\(UInt32.random(in: 0 ... .max))\""
            }
        }
    }

    private static func places(_ hub: TestHub) throws -> [Place] {
        try HubRouter.routes(hub.services).flatMap { route -> [Place] in
            guard let body = route.body, body.mediaType == "application/json" else { return [] }
            var library = SchemaLibrary()
            let schema = try body.schema(&library).json
            return ([[]] + paths(schema, library.named)).map { Place(route: route, path: $0, schema: schema) }
        }
    }

    private static func paths(_ schema: JSONValue, _ named: [String: Schema], depth: Int = 0) -> [[String]] {
        if let name = schema["$ref"]?.stringValue?.split(separator: "/").last, let target = named[String(name)] {
            return depth < 8 ? paths(target.json, named, depth: depth + 1) : []
        }
        guard case .object(let properties)? = schema["properties"], depth < 8 else { return [] }
        return properties.sorted { $0.key < $1.key }.flatMap { name, member in
            [[name]] + paths(member, named, depth: depth + 1).map { [name] + $0 }
        }
    }

    fileprivate static func measure() async throws {
        let hub = try TestHub()
        let token = try await hub.token(.admin)
        let (node, bot) = try await hub.botOnNode()
        let ids = ["nodes": node.rawValue, "bots": bot.rawValue]
        let places = try places(hub)
        #expect(Set(places.map { "\($0.route.method) \($0.route.path)" }).count > 15)
        try await hub.api { api in
            var worst: WorkMeter.Growth?
            for place in places {
                var collection = ""
                let path = place.route.segments.reduce("") { path, segment in
                    if segment.parameter == nil { collection = segment.text }
                    return path + "/" + (segment.parameter == nil ? segment.text : ids[collection] ?? "x")
                }
                for kind in JSONBulk.allCases {
                    let growth = try await WorkMeter.growth("\(place.name) of \(kind)", sizes: sizes) { count in
                        let body = place.body(kind.value(count))
                        hub.clock.advance(by: .seconds(1))
                        let began = WorkMeter.processSeconds
                        // What the answer holds is the business of who reads it.
                        let status = try await api.client.execute(
                            uri: path,
                            method: place.route.method,
                            headers: [.authorization: "Bearer \(token)", .contentType: "application/json"],
                            body: ByteBuffer(string: body)
                        ) { $0.status.code }
                        let cost = WorkMeter.processSeconds - began
                        #expect(status < 500, "\(place.name) of \(kind): \(status)")
                        return cost
                    }
                    #expect(growth.isLinear, "\(growth), \(growth.cost)")
                    if growth.perByte > worst?.perByte ?? 0 { worst = growth }
                }
            }
            if let worst {
                let count = places.count * JSONBulk.allCases.count
                print("work bound: bodies of calls, \(count) ways; the worst:", worst)
            }
            #expect((worst?.perByte ?? 0) < 20_000)
        }
    }

    @Test("Each member of each body, full of each kind of JSON, and the body itself")
    func bodies() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            try await APIWorkTests.measure()
        }
        NodeWorkTests.report(result)
    }
}
