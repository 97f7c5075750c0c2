import Testing

@testable import ControlHub

@Suite("Where a request comes from")
struct ClientAddressTests {
    @Test(
        "a peer that is no proxy is the client, whatever it says",
        arguments: [
            ("203.0.113.7", "203.0.113.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2/64"),
            ("2001:db8:1:2::9", "2001:db8:1:2/64"), ("::ffff:203.0.113.7", "203.0.113.7"),
        ]
    )
    func direct(peer: String, key: String) {
        let address = ClientAddress(peer: peer, forwarded: ["198.51.100.1"], proxies: [])
        #expect(address.text == peer)
        #expect(address.limitKey == key)
    }

    @Test(
        "a proxy on this machine, or one that was named, speaks for its client",
        arguments: [
            (["198.51.100.1"], "198.51.100.1"),
            (["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            (["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            (["198.51.100.1, 10.0.0.5"], "198.51.100.1"),
            (["198.51.100.1:4711"], "198.51.100.1"),
            (["[2001:db8::1]:4711"], "2001:db8::1"),
        ]
    )
    func proxied(forwarded: [String], client: String) {
        for peer in ["127.0.0.1", "::1", "10.0.0.5"] {
            let address = ClientAddress(peer: peer, forwarded: forwarded, proxies: ["10.0.0.5"])
            #expect(address.text == client)
            #expect(address.limitKey != nil)
        }
    }

    @Test(
        "a proxy that does not say whom it speaks for is not counted as one client",
        arguments: [[], [""], ["unknown"], ["127.0.0.1"], ["198.51.100.1, nonsense"]]
    )
    func silentProxy(forwarded: [String]) {
        let address = ClientAddress(peer: "127.0.0.1", forwarded: forwarded, proxies: [])
        #expect(address.text == "127.0.0.1")
        #expect(address.limitKey == nil)
    }
}
