import pytest

pytest_plugins = ["pytester"]


def test_the_fixture_starts_stand_ins_and_stops_them_after_the_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["ksdk_rerank.testing.pytest_plugin"]')
    pytester.makepyfile(
        """
        import httpx
        import pytest

        servers = []

        def ask(server):
            headers = {"x-api-key": server.api_key}
            url = f"{server.base_url}/v1/search"
            return httpx.post(url, json={"query": "needle"}, headers=headers, trust_env=False, verify=False)

        def test_two_at_once(knowledgesdk_stand_in, tmp_path):
            (tmp_path / "a.md").write_text("needle")
            servers.append(knowledgesdk_stand_in(tmp_path))
            servers.append(knowledgesdk_stand_in(str(tmp_path), api_key="mine", shape="results"))
            assert ask(servers[0]).json()["hits"][0]["content"] == "needle"
            assert ask(servers[1]).json()["results"][0]["snippet"] == "needle"
            assert servers[1].requests[0].headers["x-api-key"] == "mine"

        def test_both_are_stopped():
            for server in servers:
                with pytest.raises(RuntimeError, match="is stopped"):
                    server.url
        """
    )
    # Only the plugin under test: other installed ones may warn about settings this empty project lacks.
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio").assert_outcomes(passed=2)
