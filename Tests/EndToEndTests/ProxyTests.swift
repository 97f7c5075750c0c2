import Foundation
import Testing

/// The same program that `make soak` runs for ten minutes, with every time-out divided by twenty.
@Suite("The link through proxies", .serialized)
struct ProxyTests {
    @Test("idle links through nginx, HAProxy, Caddy, tinyproxy and microsocks stay one session beyond their time-outs")
    func scaledSoak() async throws {
        let bench = try Workbench()
        let soak = try await run(
            "/usr/bin/python3",
            [
                Program.checkout.appending(path: "scripts/soak").path, "--json", "--seconds", "12", "--scale", "20",
                "--only", "proxies", "--binaries", Program.binaries.path,
            ],
            in: bench.folder
        )
        #expect(soak.status == 0, "\(soak.text)")
        let start = try #require(soak.text.firstIndex(of: "{"), "\(soak.text)")
        let rows = try JSON(parsing: String(soak.text[start...]))["parts"]["proxies"]["rows"].array
        let names = Set(rows.compactMap { $0["proxy"].string })
        #expect(names.isSuperset(of: ["nginx", "haproxy", "caddy", "tinyproxy", "microsocks"]))
        for row in rows {
            #expect(row["sessions"] == 1 && row["still alive"] == "yes", "\(row)")
        }
    }
}
