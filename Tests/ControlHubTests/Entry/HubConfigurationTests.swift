import Foundation
import Logging
import Testing

@testable import ControlHub

@Suite("The hub's configuration")
struct HubConfigurationTests {
    private func read(
        flags: [HubConfiguration.Option: String] = [:],
        environment: [String: String] = [:],
        file: String? = nil
    ) throws -> HubConfiguration {
        guard let file else { return try HubConfiguration(flags: flags, environment: environment, file: nil) }
        let path = FileManager.default.temporaryDirectory.path + "/hub-test-\(UInt64.random(in: 0 ... .max)).yaml"
        try Data(file.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try HubConfiguration(flags: flags, environment: environment, file: path)
    }

    @Test("takes flags before variables before the file")
    func precedence() throws {
        let file = "listen: 127.0.0.1:1\nhub_name: file\nlog_level: debug\nhostname: [a, b]\n"
        let environment = ["HUB_LISTEN": "127.0.0.1:2", "HUB_HUB_NAME": "environment"]
        let configuration = try read(flags: [.listen: "127.0.0.1:3"], environment: environment, file: file)
        #expect(configuration.listenPort == 3)
        #expect(configuration.hubName == "environment")
        #expect(configuration.logLevel == .debug)
        #expect(configuration.hostnames == ["a", "b"])
        #expect(try read(environment: ["HUB_HOSTNAME": "x,y"], file: file).hostnames == ["x", "y"])
    }

    @Test(
        "reads how much of each log is kept",
        arguments: [("64M", 64 << 20), ("1G", 1 << 30), ("1048576", 1 << 20), ("off", 0)]
    )
    func keptLogs(_ text: String, _ bytes: Int) throws {
        #expect(try read(environment: ["HUB_KEEP_LOGS": text]).keptLogBytes == bytes)
        #expect(try read().keptLogBytes == 0)
        for wrong in ["1K", "-1", "M", "9999999999999G", "64X"] {
            #expect(throws: StartFailure.self) { try read(environment: ["HUB_KEEP_LOGS": wrong]) }
        }
    }

    @Test("reads what is kept, part by part")
    func retention() throws {
        let environment = [
            "HUB_KEEP_PACKETS": "age=7d, bytes=5G,bot-rows=off,node-bytes=1G", "HUB_KEEP_LOGS_AGE": "30d",
        ]
        let settings = try read(environment: environment, file: "keep_audit: actor-rows=1000\nretention_interval: 5s\n")
            .retention
        var expected = RetentionLimits.standard(.packets)
        (expected.age, expected.bytes, expected.ownerRows, expected.nodeBytes) = (
            .seconds(604_800), 5 << 30, nil, 1 << 30
        )
        #expect(settings[.packets] == expected)
        #expect(settings[.audit].ownerRows == 1000 && settings[.messages] == .standard(.messages))
        #expect(settings.interval == .seconds(5) && settings.logAge == .seconds(30 * 86_400))
        for wrong in ["age", "age=5s", "bytes=1", "rows=x", "actor-rows=100", "bot-rows=-1", "age=1d,what=2"] {
            let error = #expect(throws: StartFailure.self) { try read(environment: ["HUB_KEEP_PACKETS": wrong]) }
            #expect(error?.message.contains("keep_packets") == true, "\(wrong)")
        }
        // What a repeated request is promised.
        #expect(throws: StartFailure.self) { try read(environment: ["HUB_KEEP_ANSWERS": "age=1h"]) }
    }

    @Test("derives the thresholds from the interval unless they are given")
    func thresholds() throws {
        let derived = try read(environment: ["HUB_HEARTBEAT_INTERVAL": "1s"]).thresholds
        #expect(derived.degradedAfter == .seconds(2) && derived.offlineAfter == .seconds(3))
        let given = try read(file: "heartbeat_interval: 500ms\ndegraded-after: 5s\noffline_after: 10\n").thresholds
        #expect(given.degradedAfter == .seconds(5) && given.offlineAfter == .seconds(10))
    }

    @Test(
        "names what is wrong",
        arguments: [
            ("lissen: 127.0.0.1:1", "lissen"), ("listen: nonsense", "listen"), ("log_level: loud", "log_level"),
            ("heartbeat_interval: soon", "heartbeat_interval"), ("tls_cert: /a", "tls_key"),
            ("insecure_http: maybe", "insecure_http"),
            ("listen: [1]", "listen"), ("- a", "key: value"), ("offline_after: 1s", "offline_after"),
            ("public_url: hub.example", "public_url"), ("{", "YAML"),
            ("public_url: https://host/prefix", "root"), ("public_url: https://host/?a=1", "root"),
            ("public_url: https://host#a", "root"), ("public_url: https://me@host", "root"),
        ]
    )
    func mistakes(file: String, named: String) throws {
        let failure = #expect(throws: StartFailure.self) { try read(file: file) }
        #expect(
            failure?.code == .configuration && failure?.message.contains(named) == true,
            "\(String(describing: failure))"
        )
    }

    @Test("takes a public address without what stands behind its host", arguments: ["", "/", "//"])
    func publicURL(end: String) throws {
        #expect(try read(flags: [.publicURL: "https://hub.example:8443\(end)"]).publicURL == "https://hub.example:8443")
    }

    @Test("reads addresses of both families")
    func listen() throws {
        let six = try read(flags: [.listen: "[::1]:8443"])
        #expect(six.listenHost == "::1" && six.listenPort == 8443 && six.isLoopback)
        #expect(try read(flags: [.listen: "0.0.0.0:1"]).isLoopback == false)
    }

    @Test("strangers' connections are fewer than all, and all fewer than the files that may be open")
    func connections() throws {
        func read(_ flags: [HubConfiguration.Option: String]) throws -> ConnectionCensus.Settings {
            try HubConfiguration(flags: flags, environment: [:], file: nil).connections
        }
        let standard = try read([:])
        #expect(standard.total == 20_000 && standard.strangers == 1024 && standard.strangersPerAddress == 256)
        let small = standard.within(descriptors: 1024)
        #expect(small.total == 768 && small.strangers == 384)
        #expect(standard.within(descriptors: nil) == standard)
        let given = try read([
            .maxConnections: "100", .strangerConnections: "50", .strangerConnectionsPerAddress: "7",
        ])
        #expect(given.total == 100 && given.strangers == 50 && given.strangersPerAddress == 7)
        #expect(throws: StartFailure.self) { try read([.maxConnections: "100", .strangerConnections: "100"]) }
        #expect(throws: StartFailure.self) { try read([.strangerConnections: "1"]) }
    }
}
