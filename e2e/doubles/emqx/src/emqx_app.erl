%% The broker's application: what it starts, and which ports it opens.
-module(emqx_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Arguments) ->
    %% EMQX keeps such a key as well. It is no atom, so that a virtual machine cannot boot with a configuration that holds it.
    ok = application:set_env(ekka, {callback, prepare}, fun emqx_cluster:prepare/1),
    ok = emqx_cluster:start(),
    supervisor:start_link({local, emqx_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    Workers = [
        worker(emqx_alarm, [emqx_alarm]),
        worker(emqx_sys, [emqx_sys]),
        worker(emqx_lingering, [emqx_lingering]),
        worker(emqx_listener, [emqx_listener]),
        worker(emqx_http, [emqx_http]),
        worker(emqx_rebalance, [emqx_rebalance]),
        worker(emqx_rpc, [emqx_rpc]),
        worker(emqx_os_mon, [emqx_os_mon]),
        worker(emqx_autoclean, [emqx_autoclean])
    ],
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, Workers}}.

worker(Module, Modules) ->
    #{id => Module, start => {Module, start_link, []}, restart => permanent,
      shutdown => 2000, type => worker, modules => Modules}.
